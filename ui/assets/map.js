// The map of a gallery on a canvas. Only visible thumbnails are loaded, by URL.
// Data: {url: of the positions, photos: of the thumbnails, count: n, clusters: [text], words: {...}}
// Content of the url: ids uint32, x uint16, y uint16, clusters int16, n of each; the clusters' medoids come first.
const LEAST = 44, MOST = 190; // pixels of a thumbnail
const KEPT = 600, AT_ONCE = 8; // thumbnails cached, and loaded at a time
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// Positions in units of the map's height. Its aspect ratio is that of the window at first.
function unpack(buffer, n, aspect) {
  return {
    ids: new Uint32Array(buffer, 0, n),
    x: Float32Array.from(new Uint16Array(buffer, 4 * n, n), (x) => (x / 65535) * aspect),
    y: Float32Array.from(new Uint16Array(buffer, 6 * n, n), (y) => y / 65535),
    clusters: new Int16Array(buffer, 8 * n, n),
  };
}

// LRU cache of thumbnails by id. A few are loaded at a time, in the order of the last frame.
class Thumbnails {
  constructor(address, arrived) {
    this.address = address;
    this.arrived = arrived;
    this.kept = new Map();
    this.wanted = [];
    this.loading = 0;
  }
  get(id) {
    const found = this.kept.get(id);
    if (!found) {
      this.wanted.push(id);
      return null;
    }
    this.kept.delete(id);
    this.kept.set(id, found); // most recently used: evicted last
    return found.ready ? found.image : null;
  }
  load() {
    while (this.loading < AT_ONCE && this.wanted.length) {
      const id = this.wanted.shift();
      if (this.kept.has(id)) continue;
      const entry = { image: new Image(), ready: false };
      this.kept.set(id, entry);
      this.loading++;
      const done = (ready) => {
        this.loading--;
        entry.ready = ready;
        this.arrived();
      };
      entry.image.onload = () => done(true);
      entry.image.onerror = () => done(false);
      entry.image.src = `${this.address}${id}/thumbnail.jpg`;
    }
    for (const id of this.kept.keys()) {
      if (this.kept.size <= KEPT) break;
      this.kept.delete(id);
    }
  }
}

// Streamlit reruns a component on the same element when its data or the theme change, without calling its clean-up.
const maps = new WeakMap(); // canvas -> the map on it

async function positions({ url }) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.arrayBuffer();
}

class PhotoMap {
  constructor(root) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.label = root.querySelector(".label");
    this.data = null;
    this.points = null;
    this.view = null; // {x, y, scale}: position of the middle, and pixels per height of the map
    this.drawn = []; // thumbnails of the last frame: [row, x, y, width, height]
    this.hover = -1;
    this.pointers = new Map();
    this.frame = 0;
    this.calls = 0;
    this.arrived = null; // {data, open, buffer}, held back until a gesture ends
    this.stop = new AbortController();
    this.observer = new ResizeObserver(() => this.draw());
  }

  // Only the last call counts: responses to earlier ones are ignored.
  async arrive(data, open) {
    const call = ++this.calls;
    const missing = this.root.querySelector(".missing");
    this.name(data.words);
    let buffer = null;
    try {
      if (data.url !== this.data?.url) buffer = await positions(data);
    } catch {
      if (call !== this.calls) return;
      missing.textContent = data.words.missing;
      missing.hidden = false;
      return;
    }
    if (call !== this.calls) return;
    missing.hidden = true;
    this.arrived = { data, open, buffer };
    this.settle();
  }

  settle() {
    if (this.pointers.size || !this.arrived) return;
    const { data, open, buffer } = this.arrived;
    const isFirst = !this.data;
    this.arrived = null;
    this.data = data;
    this.open = open;
    if (buffer) this.begin(buffer);
    if (isFirst) this.listen();
    this.list();
    this.draw();
    this.root.querySelector(".map").dataset.ready = "yes";
  }

  begin(buffer) {
    this.thumbnails = new Thumbnails(this.data.photos, () => this.draw());
    this.titles = new Map();
    this.drawn = [];
    this.hover = -1;
    this.label.hidden = true;
    this.aspect = Math.min(2, Math.max(0.6, this.canvas.clientWidth / this.canvas.clientHeight));
    this.points = unpack(buffer, this.data.count, this.aspect);
    cancelAnimationFrame(this.flight);
    this.view = null;
    this.whole();
  }

  end() {
    this.calls++;
    this.points = null;
    this.drawn = [];
    this.stop.abort();
    this.observer.disconnect();
    cancelAnimationFrame(this.flight);
    cancelAnimationFrame(this.frame);
  }

  name(words) {
    this.canvas.setAttribute("aria-label", words.map);
    for (const name of ["closer", "further", "whole"]) {
      const button = this.root.querySelector(`.${name}`);
      button.setAttribute("aria-label", words[name]);
      button.title = words[name];
    }
  }

  // Draws the clusters below the map.
  list() {
    const { clusters, photos, words } = this.data;
    this.root.querySelector("h2").textContent = clusters.length ? words.clusters : "";
    this.root.querySelector(".clusters").replaceChildren(
      ...clusters.map((text, cluster) => {
        const button = document.createElement("button");
        button.type = "button";
        const image = new Image();
        image.alt = "";
        image.loading = "lazy";
        image.src = `${photos}${this.points.ids[cluster]}/thumbnail.jpg`;
        button.append(image, text);
        button.onclick = () => {
          this.fly(this.bounded(this.cluster(cluster)));
          this.canvas.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
        };
        return button;
      })
    );
  }

  whole() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    this.fly({ x: this.aspect / 2, y: 0.5, scale: 0.88 * Math.min(width / this.aspect, height) });
  }

  // Middle and extent of a cluster.
  cluster(number) {
    const { x, y, clusters } = this.points;
    let [left, right, top, bottom] = [Infinity, 0, Infinity, 0];
    for (let i = 0; i < clusters.length; i++) {
      if (clusters[i] !== number) continue;
      left = Math.min(left, x[i]); right = Math.max(right, x[i]);
      top = Math.min(top, y[i]); bottom = Math.max(bottom, y[i]);
    }
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = 0.75 * Math.min(width / Math.max(right - left, 0.01), height / Math.max(bottom - top, 0.01));
    return { x: (left + right) / 2, y: (top + bottom) / 2, scale };
  }

  fly(to) {
    cancelAnimationFrame(this.flight);
    const from = this.view;
    if (!from || calm.matches) {
      this.view = to;
      this.draw();
      return;
    }
    const begin = performance.now();
    const step = (now) => {
      const t = Math.min(1, (now - begin) / 350);
      const e = t * (2 - t);
      const mix = (a, b) => a + (b - a) * e;
      this.view = { x: mix(from.x, to.x), y: mix(from.y, to.y), scale: from.scale * (to.scale / from.scale) ** e };
      this.draw();
      if (t < 1) this.flight = requestAnimationFrame(step);
    };
    this.flight = requestAnimationFrame(step);
  }

  bounded(view) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const most = (MOST / 0.9) * Math.sqrt(this.data.count) * 12;
    const scale = Math.min(Math.max(view.scale, 0.5 * Math.min(width, height)), Math.max(most, 2 * width));
    const inside = (v, most) => Math.min(most + 0.05, Math.max(-0.05, v));
    return { x: inside(view.x, this.aspect), y: inside(view.y, 1), scale };
  }

  zoom(factor, left = this.canvas.clientWidth / 2, top = this.canvas.clientHeight / 2) {
    const { x, y, scale } = this.view;
    const next = this.bounded({ x, y, scale: scale * factor }).scale;
    const [dx, dy] = [left - this.canvas.clientWidth / 2, top - this.canvas.clientHeight / 2];
    this.move({ x: x + dx / scale - dx / next, y: y + dy / scale - dy / next, scale: next });
  }

  move(view) {
    cancelAnimationFrame(this.flight);
    this.view = this.bounded(view);
    this.draw();
  }

  draw() {
    if (this.frame || !this.points) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    const { canvas, points, view } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const ratio = Math.min(devicePixelRatio || 1, 2);
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const ink = canvas.getContext("2d");
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    ink.clearRect(0, 0, width, height);
    // The thumbnail size is the mean distance of photos; each cell of that size shows its first photo. Cells are
    // fixed to the map and not to the window, so that panning changes nothing.
    const size = Math.min(MOST, Math.max(LEAST, (1.1 * view.scale) / Math.sqrt(this.data.count / this.aspect)));
    const taken = new Set();
    const shown = [];
    const dots = new Map();
    for (let i = 0; i < points.ids.length; i++) {
      const [x, y] = [points.x[i] * view.scale, points.y[i] * view.scale];
      const [left, top] = [x - view.x * view.scale + width / 2, y - view.y * view.scale + height / 2];
      if (left < -size || top < -size || left > width + size || top > height + size) continue;
      const cell = Math.floor(x / size) * 1048576 + Math.floor(y / size);
      if (taken.has(cell)) {
        const cluster = points.clusters[i];
        if (!dots.has(cluster)) dots.set(cluster, []);
        dots.get(cluster).push(left, top);
      } else {
        taken.add(cell);
        shown.push([i, left, top]);
      }
    }
    for (const [cluster, at] of dots) {
      ink.fillStyle = cluster < 0 ? "rgba(128,128,128,0.55)" : `hsl(${(cluster * 137.5) % 360} 55% 50% / 0.75)`;
      for (let i = 0; i < at.length; i += 2) ink.fillRect(at[i] - 1.5, at[i + 1] - 1.5, 3, 3);
    }
    this.thumbnails.wanted = [];
    this.drawn = [];
    for (const [row, left, top] of shown) {
      const image = this.thumbnails.get(points.ids[row]);
      const face = row < this.data.clusters.length;
      const side = size * (face ? 1.12 : 0.94);
      const fit = image ? side / Math.max(image.naturalWidth, image.naturalHeight) : 0;
      const [w, h] = image ? [image.naturalWidth * fit, image.naturalHeight * fit] : [side * 0.8, side * 0.6];
      this.drawn.push([row, left - w / 2, top - h / 2, w, h]);
    }
    // Medoids are drawn last, on top.
    for (const [row, left, top, w, h] of this.drawn.reverse()) {
      const image = this.thumbnails.get(points.ids[row]);
      ink.beginPath();
      ink.roundRect(left, top, w, h, Math.min(8, w / 8));
      if (image) {
        ink.save();
        ink.clip();
        ink.drawImage(image, left, top, w, h);
        ink.restore();
      } else {
        ink.fillStyle = "rgba(128,128,128,0.25)";
        ink.fill();
      }
      if (row === this.hover) {
        ink.lineWidth = 3;
        ink.strokeStyle = getComputedStyle(canvas).getPropertyValue("--st-primary-color") || "#0f766e";
        ink.stroke();
      }
    }
    this.thumbnails.load();
  }

  at(left, top) {
    // The last one drawn is on top.
    for (let i = this.drawn.length - 1; i >= 0; i--) {
      const [row, x, y, w, h] = this.drawn[i];
      if (left >= x && left <= x + w && top >= y && top <= y + h) return row;
    }
    return -1;
  }

  async point(row, left, top, speak = false) {
    this.canvas.classList.toggle("over", row >= 0);
    if (row !== this.hover) {
      this.hover = row;
      this.draw();
    }
    this.label.hidden = row < 0 || speak;
    if (row < 0) return;
    const id = this.points.ids[row];
    const titles = this.titles;
    const beside = left + 250 > this.canvas.clientWidth ? left - 236 : left + 16;
    const above = Math.max(8, Math.min(top - 60, this.canvas.clientHeight - 260));
    this.label.style.transform = `translate(${beside}px, ${above}px)`;
    const image = this.label.querySelector("img");
    const address = `${this.data.photos}${id}/thumbnail.jpg`;
    if (!image.src.endsWith(address)) image.src = address;
    this.label.querySelector("span").textContent = titles.get(id) || "";
    const spoken = this.root.querySelector(".spoken");
    if (speak) spoken.textContent = titles.get(id) || "";  // not the previous title meanwhile
    if (!titles.has(id)) {
      const answer = await fetch(`${this.data.photos}${id}/title.txt`);
      titles.set(id, answer.ok ? await answer.text() : "");
    }
    if (this.hover !== row) return;
    this.label.querySelector("span").textContent = titles.get(id);
    if (speak) spoken.textContent = titles.get(id);
  }

  // The thumbnail nearest to the middle, for keyboard users.
  middle() {
    const [cx, cy] = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
    let best = -1, least = Infinity;
    for (const [row, x, y, w, h] of this.drawn) {
      const distance = (x + w / 2 - cx) ** 2 + (y + h / 2 - cy) ** 2;
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  listen() {
    const { signal } = this.stop;
    this.observer.observe(this.canvas);
    for (const [name, act] of [
      ["closer", () => this.zoom(1.5)], ["further", () => this.zoom(1 / 1.5)], ["whole", () => this.whole()],
    ]) {
      this.root.querySelector(`.${name}`).addEventListener("click", act, { signal });
    }
    const on = (name, act, options = {}) => this.canvas.addEventListener(name, act, { signal, ...options });
    const local = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    on("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), ...local(event));
    }, { passive: false });
    on("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, local(event));
      if (this.pointers.size === 1) this.dragged = 0;
    });
    on("pointermove", (event) => {
      const now = local(event);
      const before = this.pointers.get(event.pointerId);
      if (!before) {
        if (event.pointerType === "mouse") this.point(this.at(...now), ...now);
        return;
      }
      const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
      this.dragged += Math.hypot(dx, dy);
      this.pointers.set(event.pointerId, now);
      if (this.dragged > 6) this.point(-1);
      this.canvas.classList.toggle("moving", this.dragged > 6);
      const share = 1 / (1 + others.length);
      const { x, y, scale } = this.view;
      this.move({ x: x - (dx * share) / scale, y: y - (dy * share) / scale, scale });
      if (others.length) {
        const apart = (p) => Math.hypot(p[0] - others[0][0], p[1] - others[0][1]) || 1;
        this.zoom(apart(now) / apart(before), (now[0] + others[0][0]) / 2, (now[1] + others[0][1]) / 2);
      }
    });
    const up = (event) => {
      const alone = this.pointers.size === 1;
      const held = this.pointers.delete(event.pointerId);
      this.canvas.classList.remove("moving");
      if (event.type === "pointerup" && held && alone && this.dragged <= 6) {
        const row = this.at(...local(event));
        if (row >= 0) this.open(this.points.ids[row]);
      }
      this.settle();
    };
    on("pointerup", up);
    on("pointercancel", up);
    on("pointerleave", () => this.point(-1));
    on("keydown", (event) => {
      const step = 90 / this.view.scale;
      const { x, y, scale } = this.view;
      const acts = {
        ArrowLeft: () => this.move({ x: x - step, y, scale }),
        ArrowRight: () => this.move({ x: x + step, y, scale }),
        ArrowUp: () => this.move({ x, y: y - step, scale }),
        ArrowDown: () => this.move({ x, y: y + step, scale }),
        "+": () => this.zoom(1.4),
        "=": () => this.zoom(1.4),
        "-": () => this.zoom(1 / 1.4),
        0: () => this.whole(),
        Enter: () => this.middle() >= 0 && this.open(this.points.ids[this.middle()]),
      };
      if (!acts[event.key]) return;
      event.preventDefault();
      acts[event.key]();
      requestAnimationFrame(() => requestAnimationFrame(() => this.point(this.middle(), 0, 0, true)));
    });
  }
}

export default function ({ data, parentElement: root, setTriggerValue }) {
  const canvas = root.querySelector("canvas");
  const map = maps.get(canvas) ?? new PhotoMap(root);
  maps.set(canvas, map);
  map.arrive(data, (id) => setTriggerValue("open", id));
  const call = map.calls;
  return () => {
    if (call !== map.calls) return; // superseded by a later call
    maps.delete(canvas);
    map.end();
  };
}
