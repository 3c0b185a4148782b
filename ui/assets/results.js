// Draws the result tiles. Data: {panes: [{heading, hits: [{file, title, credit, thumbnail, confidence, detail, points, move, direction}]}]}
const LENS =
  '<svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="2" aria-hidden="true">' +
  '<circle cx="6.5" cy="6.5" r="4.5"/><path d="M10 10l4.5 4.5" stroke-linecap="round"/></svg>';

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text; // titles come from file names: never as HTML
  return node;
}

function tile(hit, send) {
  const figure = element("figure");
  const open = element("button", "open");
  open.type = "button";
  open.setAttribute("aria-label", `Open ${hit.title}`);
  open.onclick = () => send("open", hit.file);
  const image = element("img");
  image.src = hit.thumbnail;
  image.alt = hit.title;
  image.loading = "lazy";
  image.decoding = "async";
  open.append(image);

  const again = element("button", "again");
  again.type = "button";
  again.title = "Search with this photo";
  again.setAttribute("aria-label", `Search with this photo: ${hit.title}`);
  again.innerHTML = LENS;
  again.append(element("span", "", "Search with this photo"));
  again.onclick = () => send("search", hit.file);

  const caption = element("figcaption");
  const title = element("div", "title");
  const name = element("b", "", hit.title);
  name.title = hit.file;
  title.append(name);
  if (hit.move) title.append(element("span", `move ${hit.direction}`, hit.move));
  caption.append(title);
  if (hit.credit) open.dataset.credit = hit.credit;
  if (hit.confidence) {
    const confidence = element("div", `confidence ${hit.confidence}`, hit.confidence);
    confidence.title = hit.detail;
    caption.append(confidence);
  } else open.title = hit.detail; // no probability was fitted: the numbers are on the photo
  figure.append(open, again, caption);
  if (hit.points) {
    const badge = element("span", "verified", `✓ ${hit.points} points`);
    badge.title = `${hit.points} matched points fit together`;
    figure.append(badge);
  }
  return figure;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const panes = parentElement.querySelector(".panes");
  panes.classList.toggle("two", data.panes.length > 1);
  panes.replaceChildren(
    ...data.panes.map(({ heading, hits }) => {
      const pane = element("section", "pane");
      if (heading) pane.append(element("h3", "", heading));
      const grid = element("div", "grid");
      grid.append(...hits.map((hit) => tile(hit, setTriggerValue)));
      pane.append(grid);
      return pane;
    })
  );
}
