// The evidence: two photos with their matched points joined, or one laid over the other by the homography.
// Data: {query: {src, width, height, title}, hit: {...}, points: [[x, y, x', y'], ...] in 0..1 of each photo,
//        homography: 9 numbers, row by row, from query to hit in 0..1, or null}
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function drawLines(root, data, count) {
  const stage = root.querySelector(".stage");
  const layer = stage.querySelector("svg");
  const frame = stage.getBoundingClientRect();
  const [from, to] = [...stage.querySelectorAll("img")].map((image) => {
    const box = image.getBoundingClientRect();
    return { x: box.left - frame.left, y: box.top - frame.top, width: box.width, height: box.height };
  });
  layer.replaceChildren(
    ...data.points.slice(0, count).map(([x, y, u, v], i) => {
      const ends = {
        x1: from.x + x * from.width, y1: from.y + y * from.height,
        x2: to.x + u * to.width, y2: to.y + v * to.height,
      };
      const group = svg("g", { style: `--c: hsl(${(i * 137.5) % 360} 80% 55%)` });
      group.append(
        svg("line", { class: "hitbox", ...ends }),
        svg("line", { class: "line", ...ends }),
        svg("circle", { cx: ends.x1, cy: ends.y1, r: 3 }),
        svg("circle", { cx: ends.x2, cy: ends.y2, r: 3 })
      );
      return group;
    })
  );
}

function layOver(root, data) {
  // As wide as fits without pushing the photo out of the window.
  const room = (window.innerHeight * 0.62 * data.hit.width) / data.hit.height;
  root.querySelector(".overlay").style.maxWidth = `${room}px`;
  const base = root.querySelector(".overlay .base").getBoundingClientRect();
  const top = root.querySelector(".overlay .top");
  const [width, height] = [data.query.width, data.query.height];
  top.style.width = `${width}px`;
  top.style.height = `${height}px`;
  // From pixels of the query as laid out to pixels of the hit as laid out: scale, homography, scale.
  const h = data.homography;
  const row = (i, scale) => [(h[i] / width) * scale, (h[i + 1] / height) * scale, h[i + 2] * scale];
  const [a, b, c] = row(0, base.width);
  const [d, e, f] = row(3, base.height);
  const [g, k, l] = row(6, 1);
  top.style.transform = `matrix3d(${[a, d, 0, g, b, e, 0, k, 0, 0, 1, 0, c, f, 0, l].join(",")})`;
}

export default function ({ data, parentElement: root }) {
  const find = (selector) => root.querySelector(selector);
  for (const side of ["query", "hit"]) {
    for (const image of root.querySelectorAll(`img.${side}`)) {
      image.src = data[side].src;
      image.alt = data[side].title;
    }
    find(`.caption.${side}`).textContent = data[side].title;
  }
  find(".bar").classList.toggle("hidden", data.points.length === 0);
  const count = find(".count");
  count.max = data.points.length;
  count.value = Math.min(data.points.length, 60);
  const opacity = find(".opacity");
  const flicker = find(".flicker");
  const top = find(".overlay .top");
  let overlaid = false;

  const redraw = () => {
    find(".shown").textContent = `${count.value} of ${data.points.length}`;
    drawLines(root, data, Number(count.value));
    if (overlaid) layOver(root, data);
    top.style.opacity = opacity.value / 100;
  };
  const show = (overlay) => {
    overlaid = overlay;
    find(".stage").classList.toggle("hidden", overlay);
    find(".overlay").classList.toggle("hidden", !overlay);
    find(".for-lines").classList.toggle("hidden", overlay);
    find(".for-overlay").classList.toggle("hidden", !overlay);
    find(".mode-lines").setAttribute("aria-pressed", String(!overlay));
    find(".mode-overlay").setAttribute("aria-pressed", String(overlay));
    redraw();
  };
  find(".mode-lines").onclick = () => show(false);
  find(".mode-overlay").onclick = () => show(true);
  find(".mode-overlay").classList.toggle("hidden", !data.homography);
  count.oninput = opacity.oninput = redraw;

  const timer = setInterval(() => {
    if (overlaid && flicker.checked) {
      opacity.value = Number(opacity.value) > 50 ? 0 : 100;
      redraw();
    }
  }, 600);
  const observer = new ResizeObserver(redraw);
  for (const image of root.querySelectorAll("img")) {
    observer.observe(image);
    image.onload = redraw;
  }
  show(false);
  return () => {
    clearInterval(timer);
    observer.disconnect();
  };
}
