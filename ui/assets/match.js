// The evidence: two photos with lines between matched points, or one overlaid on the other by the homography.
// Data: {query: {src, width, height, title}, hit: {...}, points: [[x, y, x', y'], ...] in 0..1 of each photo,
//        tentative: points that look alike, before geometry, homography: 9 numbers, row by row, from query to hit
//        in 0..1, or null, frame: [left, top, right, bottom] in 0..1 of the query,
//        words: {name: text in the page's language}}
const SVG = "http://www.w3.org/2000/svg";
const MOST_ZOOM = 8;
const CLICK_ZOOM = 3;
const STEPS = 24; // along each edge of the frame
const FAR = 20; // photo sizes: points near the horizon are drawn no further out
const clamp = (value, low, high) => Math.min(Math.max(high, low), Math.max(low, value));

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Its sign is the side of the horizon that a point is on.
const depth = (h, [x, y]) => h[6] * x + h[7] * y + h[8];

function mapped(h, [x, y]) {
  const w = depth(h, [x, y]);
  return [(h[0] * x + h[1] * y + h[2]) / w, (h[3] * x + h[4] * y + h[5]) / w];
}

function inverse([a, b, c, d, e, f, g, h, i]) {
  return [e * i - f * h, c * h - b * i, b * f - c * e, f * g - d * i, a * i - c * g, c * d - a * f, d * h - e * g, b * g - a * h, a * e - b * d];
}

// The outline of the frame in the hit, sampled along its edges; parts behind the horizon are skipped.
function outline([l, t, r, b], homography, front) {
  const corners = [[l, t], [r, t], [r, b], [l, b]];
  if (!homography) return corners;
  return corners.flatMap(([x, y], i) => {
    const [u, v] = corners[(i + 1) % 4];
    return Array.from({ length: STEPS }, (_, s) => [x + ((u - x) * s) / STEPS, y + ((v - y) * s) / STEPS])
      .filter((spot) => depth(homography, spot) * front > 0)
      .map((spot) => mapped(homography, spot));
  });
}

function drawLines(root, data, count, { tentative, frame }) {
  const stage = root.querySelector(".stage");
  const layer = stage.querySelector("svg");
  const origin = stage.getBoundingClientRect();
  const box = (node) => {
    const { left, top, width, height } = node.getBoundingClientRect();
    return { x: left - origin.left, y: top - origin.top, width, height };
  };
  const images = [...stage.querySelectorAll(".view img")].map(box);
  const views = [...stage.querySelectorAll(".view")].map(box);
  const place = (side, x, y) => [images[side].x + x * images[side].width, images[side].y + y * images[side].height];
  const seen = (side, [x, y]) =>
    x >= views[side].x && x <= views[side].x + views[side].width && y >= views[side].y && y <= views[side].y + views[side].height;

  const joined = (points, draw) =>
    points.flatMap(([x, y, u, v], i) => {
      const [from, to] = [place(0, x, y), place(1, u, v)];
      return seen(0, from) && seen(1, to) ? [draw({ x1: from[0], y1: from[1], x2: to[0], y2: to[1] }, i)] : [];
    });
  const tried = tentative
    ? joined(data.tentative, (ends) => svg("g", { class: "tried" }, svg("line", { class: "shade", ...ends }), svg("line", { class: "line", ...ends })))
    : [];
  const found = joined(data.points.slice(0, count), (ends, i) =>
    svg(
      "g",
      { class: "found", style: `--c: hsl(${(i * 137.5) % 360} 80% 55%)` },
      svg("line", { class: "hitbox", ...ends }),
      svg("line", { class: "line", ...ends }),
      svg("circle", { cx: ends.x1, cy: ends.y1, r: 3 }),
      svg("circle", { cx: ends.x2, cy: ends.y2, r: 3 })
    )
  );
  const frames = [];
  if (frame && data.homography) {
    const id = "clip-" + Math.random().toString(36).slice(2);
    for (const side of [0, 1]) {
      const edge = outline(data.frame, side ? data.homography : null, depth(data.homography, data.points[0]));
      if (edge.length < 3) continue;
      const points = edge.map((spot) => place(side, ...spot.map((value) => clamp(value, -FAR, FAR))).join(",")).join(" ");
      const clip = svg("clipPath", { id: id + side }, svg("rect", views[side]));
      const shapes = ["under", "over"].map((name) => svg("polygon", { class: name, points }));
      frames.push(clip, svg("g", { class: "frame", "clip-path": `url(#${id}${side})` }, ...shapes));
    }
  }
  layer.replaceChildren(...tried, ...frames, ...found);
}

function layOver(root, data) {
  // As wide as possible with the photo inside the window.
  const room = (window.innerHeight * 0.62 * data.hit.width) / data.hit.height;
  root.querySelector(".overlay").style.maxWidth = `${room}px`;
  const base = root.querySelector(".overlay .base").getBoundingClientRect();
  const top = root.querySelector(".overlay .top");
  const [width, height] = [data.query.width, data.query.height];
  top.style.width = `${width}px`;
  top.style.height = `${height}px`;
  // From layout pixels of the query to layout pixels of the hit: scale, homography, scale.
  const h = data.homography;
  const row = (i, scale) => [(h[i] / width) * scale, (h[i + 1] / height) * scale, h[i + 2] * scale];
  const [a, b, c] = row(0, base.width);
  const [d, e, f] = row(3, base.height);
  const [g, k, l] = row(6, 1);
  top.style.transform = `matrix3d(${[a, d, 0, g, b, e, 0, k, 0, 0, 1, 0, c, f, 0, l].join(",")})`;
}

// Both photos zoom to the same point of the thing, by the homography if there is one.
function zoomable(root, state, { redraw, settle }) {
  const views = [root.querySelector(".view.query"), root.querySelector(".view.hit")];
  const inQuery = (side, spot) => {
    const { homography } = state.data;
    return side && homography ? mapped(inverse(homography), spot) : spot;
  };
  const inHit = (side, spot) => (side && state.data.homography ? mapped(state.data.homography, spot) : spot);

  const apply = () => {
    views.forEach((view, side) => {
      const [w, h] = [view.clientWidth, view.clientHeight];
      const [x, y] = inHit(side, state.centre);
      const z = state.zoom;
      const left = clamp(w / 2 - z * x * w, w - z * w, 0);
      const top = clamp(h / 2 - z * y * h, h - z * h, 0);
      view.querySelector("img").style.transform = z === 1 ? "" : `translate(${left}px, ${top}px) scale(${z})`;
    });
    root.querySelector(".stage").classList.toggle("zoomed", state.zoom > 1);
    root.querySelector(".zoom").textContent = `${state.zoom.toFixed(state.zoom % 1 ? 1 : 0)}×`;
    redraw();
  };
  const zoomTo = (zoom, centre = state.centre) => {
    state.zoom = clamp(zoom, 1, MOST_ZOOM);
    state.centre = centre.map((value) => clamp(value, 0, 1));
    apply();
  };
  const spread = () => {
    const [a, b] = [...state.fingers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };
  views.forEach((view, side) => {
    const image = view.querySelector("img");
    const spot = (event) => {
      const box = image.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    view.onpointerdown = (event) => {
      if (event.button) return;
      view.setPointerCapture(event.pointerId);
      state.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      state.start = { zoom: state.zoom, moved: false, spread: state.fingers.size === 2 ? spread() : 0 };
    };
    view.onpointermove = (event) => {
      const finger = state.fingers.get(event.pointerId);
      if (!finger || !state.start) return;
      const [dx, dy] = [event.clientX - finger.x, event.clientY - finger.y];
      if (!state.start.moved && Math.hypot(dx, dy) < 5) return;
      state.start.moved = true;
      Object.assign(finger, { x: event.clientX, y: event.clientY });
      if (state.fingers.size === 2) return zoomTo((state.start.zoom * spread()) / Math.max(state.start.spread, 1));
      if (state.zoom === 1) return;
      const box = image.getBoundingClientRect();
      const here = inHit(side, state.centre);
      zoomTo(state.zoom, inQuery(side, [here[0] - dx / box.width, here[1] - dy / box.height]));
    };
    view.onpointerup = (event) => {
      const tapped = state.start && !state.start.moved && state.fingers.size === 1;
      state.fingers.delete(event.pointerId);
      if (tapped) zoomTo(state.zoom > 1 ? 1 : CLICK_ZOOM, inQuery(side, spot(event)));
      if (!state.fingers.size) state.start = null;
      settle();
    };
    view.onpointercancel = (event) => {
      state.fingers.delete(event.pointerId);
      settle();
    };
  });
  root.querySelector(".zooms .in").onclick = () => zoomTo(state.zoom * 1.5);
  root.querySelector(".zooms .out").onclick = () => zoomTo(state.zoom / 1.5);
  return apply;
}

// Sets the photos and labels.
function fill(root, data) {
  const find = (selector) => root.querySelector(selector);
  for (const side of ["query", "hit"]) {
    for (const image of root.querySelectorAll(`img.${side}`)) {
      if (image.getAttribute("src") !== data[side].src) image.src = data[side].src;
      image.alt = data[side].title;
    }
    find(`.caption.${side}`).textContent = data[side].title;
  }
  find(".points").classList.toggle("hidden", !data.points.length);
  find(".framed").classList.toggle("hidden", !data.homography);
  find(".tried").classList.toggle("hidden", !data.tentative.length);
  find(".modes").classList.toggle("hidden", !data.homography);
  find(".how-many").textContent = `${data.words.tentative} (${data.tentative.length})`;
  for (const node of root.querySelectorAll("[data-word]")) node.textContent = data.words[node.dataset.word];
  for (const node of root.querySelectorAll("[data-label]")) node.setAttribute("aria-label", data.words[node.dataset.label]);
  for (const node of root.querySelectorAll("[data-title]")) node.title = data.words[node.dataset.title];
}

// Key of the evidence: zoom and controls are reset only when it changes.
const evidence = (data) => JSON.stringify([data.query.src, data.hit.src, data.points, data.homography, data.frame]);

function middle({ points }) {
  if (!points.length) return [0.5, 0.5];
  return [0, 1].map((i) => points.reduce((sum, point) => sum + point[i], 0) / points.length);
}

class Viewer {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    const [count, opacity, flicker] = [".count", ".opacity", ".flicker"].map(find);
    // arrived: data held back until a gesture ends
    const state = { data: null, arrived: null, overlaid: false, zoom: 1, centre: [0.5, 0.5], fingers: new Map(), start: null };
    const redraw = () => {
      const { data } = state;
      find(".shown").textContent = `${count.value} / ${data.points.length}`;
      drawLines(root, data, Number(count.value), { tentative: find(".tentative").checked, frame: find(".outline").checked });
      if (state.overlaid) layOver(root, data);
      find(".overlay .top").style.opacity = opacity.value / 100;
    };
    const settle = () => {
      if (state.fingers.size || !state.arrived) return;
      const data = state.arrived;
      const isOther = !state.data || evidence(data) !== evidence(state.data);
      Object.assign(state, { data, arrived: null });
      fill(root, data);
      if (!isOther) return zoomed();
      Object.assign(state, { zoom: 1, centre: middle(data) });
      count.max = data.points.length;
      count.value = Math.min(data.points.length, 60);
      show(false);
    };
    const zoomed = zoomable(root, state, { redraw, settle });
    const show = (overlay) => {
      state.overlaid = overlay;
      find(".stage").classList.toggle("hidden", overlay);
      find(".overlay").classList.toggle("hidden", !overlay);
      for (const node of root.querySelectorAll(".for-lines")) node.classList.toggle("aside", overlay);
      for (const node of root.querySelectorAll(".for-overlay")) node.classList.toggle("aside", !overlay);
      find(".mode-lines").setAttribute("aria-pressed", String(!overlay));
      find(".mode-overlay").setAttribute("aria-pressed", String(overlay));
      zoomed();
    };
    find(".mode-lines").onclick = () => show(false);
    find(".mode-overlay").onclick = () => show(true);
    count.oninput = opacity.oninput = find(".tentative").onchange = find(".outline").onchange = redraw;
    this.calls = 0;
    this.arrive = (data) => {
      state.arrived = data;
      settle();
      return ++this.calls;
    };
    this.timer = setInterval(() => {
      if (!state.overlaid || !flicker.checked) return;
      opacity.value = Number(opacity.value) > 50 ? 0 : 100;
      redraw();
    }, 600);
    this.observer = new ResizeObserver(zoomed);
    for (const view of root.querySelectorAll(".view, .overlay .base")) this.observer.observe(view);
    for (const image of root.querySelectorAll("img")) image.onload = zoomed;
  }

  end() {
    clearInterval(this.timer);
    this.observer.disconnect();
  }
}

// Streamlit reruns a component on the same element when its data or the theme change, without calling its clean-up.
const viewers = new WeakMap();

export default function ({ data, parentElement: root }) {
  const element = root.querySelector(".viewer");
  const viewer = viewers.get(element) ?? new Viewer(root);
  viewers.set(element, viewer);
  const call = viewer.arrive(data);
  return () => {
    if (call !== viewer.calls) return; // superseded by a later call
    viewers.delete(element);
    viewer.end();
  };
}
