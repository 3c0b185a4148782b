// Times taken within the page, in milliseconds. Our components stand in shadow trees.
globalThis.measure = {
  panes: () =>
    [...document.querySelectorAll('[data-testid="stBidiComponentIsolated"]')]
      .map((node) => node.shadowRoot?.querySelector(".panes"))
      .filter(Boolean),

  app: () => document.querySelector('[data-testid="stApp"]'),

  // Whether the script has run, and what it has drawn stays.
  idle: () =>
    measure.app()?.dataset.testScriptState === "notRunning" &&
    !measure.panes().some((panes) => panes.ariaBusy === "true"),

  // What a question says once it says anything; the page's policy lets nobody else ask again.
  until: (question) =>
    new Promise((done, fail) => {
      const end = performance.now() + 120000;
      const look = () => {
        const said = question();
        if (said) done(said);
        else if (performance.now() > end) fail(new Error("it took too long"));
        else requestAnimationFrame(look);
      };
      look();
    }),

  input: (key) => document.querySelector(`.st-key-${key} input`),

  answered: () =>
    measure.idle() &&
    measure.input("diffusion") &&
    measure.panes().some((panes) => panes.querySelector(".open")) &&
    true,

  // Since the navigation; false until the start page is there with all photos that can be seen.
  loaded: () => {
    const seen = [...document.querySelectorAll(".st-key-samples img")].filter(
      (image) => image.getBoundingClientRect().top < innerHeight
    );
    const there = seen.length && seen.every((image) => image.complete && image.naturalWidth);
    return measure.idle() && there && performance.now();
  },

  // From a click on a switch until the answer that stays.
  toggled: (key) =>
    new Promise((done) => {
      let ran = false;
      const watch = new MutationObserver(() => {
        ran ||= measure.app().dataset.testScriptState !== "notRunning";
      });
      watch.observe(measure.app(), { attributeFilter: ["data-test-script-state"] });
      const look = () => {
        if (!ran || !measure.idle()) return requestAnimationFrame(look);
        watch.disconnect();
        done(performance.now() - begin);
      };
      const begin = performance.now();
      measure.input(key).click();
      requestAnimationFrame(look);
    }),

  // Between frames of the map, while it is zoomed in and out by the wheel.
  zoomed: (frames) =>
    new Promise((done) => {
      const canvas = document.querySelector("canvas");
      const box = canvas.getBoundingClientRect();
      const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
      const times = [];
      let before = performance.now();
      const step = () => {
        const now = performance.now();
        times.push(now - before);
        before = now;
        if (times.length > frames) return done(times.slice(1));
        const deltaY = Math.floor(times.length / 60) % 2 ? 30 : -30;
        canvas.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY, cancelable: true }));
        requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    }),
};
