// A frame on the photo, drawn and moved by mouse or touch. Data: {src, alt, frame: [left, top, right, bottom] in percent,
// gesture: number of the last gesture that the frame includes, whole}
// Sends the trigger "drawn": {frame, gesture}. The sliders below are the keyboard equivalent.
// The server may lag: a frame older than the last gesture is ignored; one that arrives during a gesture is applied at its end.
const LEAST = 5; // percent; anything smaller is a tap, which selects the whole photo
const WHOLE = [0, 0, 100, 100];
const states = new WeakMap();

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const sorted = ([l, t, r, b]) => [Math.min(l, r), Math.min(t, b), Math.max(l, r), Math.max(t, b)];
const isWhole = (frame) => frame.every((edge, i) => edge === WHOLE[i]);

function moved([l, t, r, b], dx, dy) {
  const x = clamp(dx, -l, 100 - r);
  const y = clamp(dy, -t, 100 - b);
  return [l + x, t + y, r + x, b + y];
}

// Moves the edges of a grip: "n", "se", ...
function pulled(frame, grip, x, y) {
  const [l, t, r, b] = frame;
  return [
    grip.includes("w") ? clamp(x, 0, r - LEAST) : l,
    grip.includes("n") ? clamp(y, 0, b - LEAST) : t,
    grip.includes("e") ? clamp(x, l + LEAST, 100) : r,
    grip.includes("s") ? clamp(y, t + LEAST, 100) : b,
  ];
}

export default function ({ data, parentElement: root, setTriggerValue }) {
  const area = root.querySelector(".area");
  const frame = root.querySelector(".frame");
  const image = root.querySelector("img");
  const whole = root.querySelector(".whole");
  const state = states.get(root) ?? { drag: null, gesture: 0 };
  states.set(root, state);
  const isCurrent = data.gesture >= state.gesture;
  if (isCurrent) state.gesture = data.gesture;
  if (image.getAttribute("src") !== data.src) image.src = data.src;
  image.alt = data.alt;
  whole.textContent = data.whole;

  const draw = (edges) => {
    state.frame = edges;
    const [l, t, r, b] = edges;
    frame.style.cssText = `left:${l}%;top:${t}%;width:${r - l}%;height:${b - t}%`;
    area.classList.toggle("all", isWhole(edges));
    whole.disabled = isWhole(edges);
  };
  const send = (edges) => {
    draw(edges.map(Math.round));
    state.gesture += 1;
    state.arrived = null;
    setTriggerValue("drawn", { frame: state.frame, gesture: state.gesture });
  };
  const settle = () => {
    if (state.drag || !state.arrived) return;
    draw(state.arrived);
    state.arrived = null;
  };
  if (isCurrent) state.arrived = data.frame;
  settle();

  // Relative to the photo's position at the start of the gesture: the page may scroll meanwhile.
  const at = (event, box) => [
    clamp((100 * (event.clientX - box.left)) / box.width, 0, 100),
    clamp((100 * (event.clientY - box.top)) / box.height, 0, 100),
  ];
  area.onpointerdown = (event) => {
    if (state.drag || event.button) return;
    event.preventDefault();
    area.setPointerCapture(event.pointerId);
    const grip = event.target.dataset.grip;
    const inside = event.target === frame && !isWhole(state.frame);
    const box = area.getBoundingClientRect();
    state.drag = { box, from: at(event, box), before: state.frame, how: grip ?? (inside ? "move" : "draw"), id: event.pointerId };
  };
  area.onpointermove = (event) => {
    const drag = state.drag;
    if (event.pointerId !== drag?.id) return;
    const [x, y] = at(event, drag.box);
    const [fromX, fromY] = drag.from;
    if (drag.how === "move") draw(moved(drag.before, x - fromX, y - fromY));
    else if (drag.how === "draw") draw(sorted([fromX, fromY, x, y]));
    else draw(pulled(drag.before, drag.how, x, y));
  };
  area.onpointerup = (event) => {
    const drag = state.drag;
    if (event.pointerId !== drag?.id) return;
    state.drag = null;
    const [l, t, r, b] = state.frame;
    const tiny = r - l < LEAST || b - t < LEAST;
    if (tiny) send(isWhole(drag.before) ? drag.before : WHOLE);
    else if (state.frame !== drag.before) send(state.frame);
    settle();
  };
  area.onpointercancel = () => {
    if (state.drag) draw(state.drag.before);
    state.drag = null;
    settle();
  };
  whole.onclick = () => send(WHOLE);
}
