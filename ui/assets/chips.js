// Further photos and feedback of the query. Data: {items: [{kind, name, title, src}], words: {kind: word}, remove}
// Sends the trigger "remove" with [kind, name].
export default function ({ data, parentElement: root, setTriggerValue }) {
  root.querySelector(".chips").replaceChildren(
    ...data.items.map(({ kind, name, title, src }) => {
      const chip = document.createElement("div");
      const image = document.createElement("img");
      const button = document.createElement("button");
      chip.className = `chip ${kind}`;
      chip.setAttribute("role", "listitem");
      image.src = src;
      image.alt = `${data.words[kind]}: ${title}`;
      button.type = "button";
      button.title = image.alt;
      button.setAttribute("aria-label", `${data.remove}: ${image.alt}`);
      button.onclick = () => setTriggerValue("remove", [kind, name]);
      chip.append(image, button);
      return chip;
    })
  );
}
