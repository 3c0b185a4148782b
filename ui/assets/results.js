// Draws the result tiles. Data: {panes: [{heading, time, hits: [{file, title, credit, thumbnail, confidence, detail, points, fit, move,
//   direction, fold, copies: [{file, title, thumbnail}]}]}], says: whether hits can be called right or wrong, busy: whether they will still move,
//   words: {name: sentence in the page's language, {fact} standing for a fact}}
// A tile that was there before stays the same node and glides to its new place: nothing jumps, and the focus is kept.
const LENS =
  '<svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="2" aria-hidden="true">' +
  '<circle cx="6.5" cy="6.5" r="4.5"/><path d="M10 10l4.5 4.5" stroke-linecap="round"/></svg>';

const MORE = '<svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" aria-hidden="true"><path d="M8 3v10M3 8h10"/></svg>';
const LESS = '<svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" aria-hidden="true"><path d="M3 8h10"/></svg>';
const GLIDE = { duration: 350, easing: "cubic-bezier(0.2, 0, 0, 1)" };
const CALM = window.matchMedia("(prefers-reduced-motion: reduce)");
let words = {};
const said = (name, facts = {}) => words[name].replace(/\{(\w+)\}/g, (_, fact) => facts[fact]);
const mounts = new WeakMap(); // root -> {tiles: Map of key -> {node, drawn}, unfolded: Set of keys}

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text; // titles come from file names: never as HTML
  return node;
}

function roundButton(className, icon, text, name, press) {
  const button = element("button", `round ${className}`);
  button.type = "button";
  button.title = text;
  button.setAttribute("aria-label", `${text}: ${name}`);
  button.innerHTML = icon;
  button.append(element("span", "", text));
  button.onclick = press;
  return button;
}

// Near-duplicates of a hit, behind a button with their number.
function copiesOf(hit, key, unfolded, send) {
  const fold = element("div", "copies");
  const button = element("button", "fold", hit.fold);
  const strip = element("div", "strip");
  button.type = "button";
  const show = () => {
    button.setAttribute("aria-expanded", String(unfolded.has(key)));
    strip.hidden = !unfolded.has(key);
  };
  button.onclick = () => {
    if (!unfolded.delete(key)) unfolded.add(key);
    show();
  };
  for (const copy of hit.copies) {
    const open = element("button", "copy");
    open.type = "button";
    open.title = copy.title;
    open.setAttribute("aria-label", said("copy", copy));
    const image = element("img");
    image.src = copy.thumbnail;
    image.alt = "";
    image.loading = "lazy";
    open.append(image);
    open.onclick = () => send("open", copy.file);
    strip.append(open);
  }
  show();
  fold.append(button, strip);
  return fold;
}

function tile(hit, says, key, unfolded, send) {
  const figure = element("figure");
  const open = element("button", "open");
  open.type = "button";
  open.setAttribute("aria-label", said("open", hit));
  open.onclick = () => send("open", hit.file);
  const image = element("img");
  image.src = hit.thumbnail;
  image.alt = hit.title;
  image.loading = "lazy";
  image.decoding = "async";
  open.append(image);

  const again = roundButton("again", LENS, said("again"), hit.title, () => send("search", hit.file));

  const caption = element("figcaption");
  const title = element("div", "title");
  const name = element("b", "", hit.title);
  name.title = hit.file;
  title.append(name);
  if (hit.move) title.append(element("span", `move ${hit.direction}`, hit.move));
  caption.append(title);
  if (hit.credit) open.dataset.credit = hit.credit;
  if (hit.confidence) {
    const confidence = element("div", `confidence ${hit.confidence}`, said(hit.confidence));
    confidence.title = hit.detail;
    caption.append(confidence);
  } else open.title = hit.detail; // no probability was fitted: the numbers are on the photo
  figure.append(open, again);
  if (says) {
    const sides = element("div", "says");
    sides.append(
      roundButton("more", MORE, said("more"), hit.title, () => send("more", hit.file)),
      roundButton("less", LESS, said("less"), hit.title, () => send("less", hit.file))
    );
    figure.append(sides);
  }
  figure.append(caption);
  if (hit.copies?.length) caption.append(copiesOf(hit, key, unfolded, send));
  if (hit.remark) caption.append(element("div", "remark", hit.remark));
  if (hit.points) {
    const badge = element("span", "verified", `✓ ${hit.points}`);
    badge.title = hit.fit;
    figure.append(badge);
  }
  return figure;
}

// Lets nodes that were in the document before glide from where they were.
function glide(nodes, change) {
  const before = new Map(nodes.filter((node) => node.isConnected).map((node) => [node, node.getBoundingClientRect()]));
  change();
  if (CALM.matches) return;
  for (const [node, from] of before) {
    if (!node.isConnected) continue;
    const to = node.getBoundingClientRect();
    const [x, y] = [from.left - to.left, from.top - to.top];
    if (x || y) node.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], GLIDE);
  }
}

export default function ({ data, parentElement: root, setTriggerValue }) {
  const panes = root.querySelector(".panes");
  words = data.words;
  const mount = mounts.get(root) ?? { tiles: new Map(), unfolded: new Set() };
  mounts.set(root, mount);
  const tiles = new Map();
  const focused = panes.getRootNode().activeElement;
  const drawn = data.panes.map(({ heading, time, hits }, number) => {
    const pane = element("section", "pane");
    if (heading) {
      const title = element("h3", "", heading);
      if (time) title.append(element("span", "time", time));
      pane.append(title);
    }
    const grid = element("div", "grid");
    for (const hit of hits) {
      const key = `${number} ${hit.file}`;
      const json = JSON.stringify([hit, data.says, words.open]);
      let known = mount.tiles.get(key);
      if (known?.json !== json) {
        const node = tile(hit, data.says, key, mount.unfolded, setTriggerValue);
        if (known) {
          // The node stays, so that it can glide; what is in it is new.
          known.node.replaceChildren(...node.childNodes);
          known = { node: known.node, json };
        } else known = { node, json };
      }
      tiles.set(key, known);
      grid.append(known.node.isConnected ? placeholder(known.node) : known.node);
    }
    pane.append(grid);
    return pane;
  });
  panes.classList.toggle("two", data.panes.length > 1);
  glide([...tiles.values()].map(({ node }) => node), () => {
    for (const pane of drawn) {
      for (const mark of pane.querySelectorAll("template")) mark.replaceWith(waiting.get(mark));
    }
    panes.replaceChildren(...drawn);
  });
  panes.ariaBusy = String(data.busy);
  mount.tiles = tiles;
  const label = focused?.getAttribute("aria-label");
  const same = focused?.isConnected ? focused : [...panes.querySelectorAll("button")].find((b) => label && b.getAttribute("aria-label") === label);
  same?.focus({ preventScroll: true });
}

// Marks the place of a tile that must not leave the document before its position was taken.
const waiting = new WeakMap();
function placeholder(node) {
  const mark = element("template");
  waiting.set(mark, node);
  return mark;
}
