// One pile of photos for each thing. Data: {albums: [{file, title, thumbnail, count, name}]}
// Sends the trigger "open" with the file of the face.
export default function ({ data, parentElement: root, setTriggerValue }) {
  const element = (tag, className, text = "") => {
    const node = document.createElement(tag);
    node.className = className;
    node.textContent = text; // titles come from file names: never as HTML
    return node;
  };
  root.querySelector(".albums").replaceChildren(
    ...data.albums.map(({ file, title, thumbnail, count, name }) => {
      const item = element("div", "album");
      const button = element("button", "");
      const pile = element("span", "pile");
      const image = new Image();
      item.setAttribute("role", "listitem");
      button.type = "button";
      button.setAttribute("aria-label", name);
      button.onclick = () => setTriggerValue("open", file);
      image.src = thumbnail;
      image.alt = "";
      image.loading = "lazy";
      pile.append(image);
      button.append(pile, element("span", "title", title), element("span", "count", count));
      item.append(button);
      return item;
    })
  );
}
