// Passes photos from the clipboard and the camera to the page's uploader.
// Data: {camera, hint, endings: {media type: file suffix}}

// The uploader accepts files by suffix, which files of the clipboard and of cameras may lack.
// Browsers set no media type for formats that they do not know; the suffix is used then.
function ending(file, endings) {
  const own = file.name.slice(file.name.lastIndexOf(".")).toLowerCase();
  return endings[file.type] ?? Object.values(endings).find((known) => known === own);
}

function hand(files, endings) {
  const photos = [...files]
    .filter((file) => ending(file, endings))
    .map((file) => new File([file], `photo${ending(file, endings)}`, { type: file.type }));
  const input = document.querySelector(".st-key-uploader input[type=file]");
  if (!photos.length || !input) return false;
  const transfer = new DataTransfer();
  for (const photo of photos) transfer.items.add(photo);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  return true;
}

// Streamlit reruns a component on the same element when the words change, without calling its clean-up.
const stops = new WeakMap(); // element -> removes the listener of its last run

export default function ({ data, parentElement: root }) {
  const input = root.querySelector("input");
  root.querySelector(".camera span").textContent = data.camera;
  root.querySelector(".hint").textContent = data.hint;
  root.querySelector(".camera").onclick = () => input.click();
  input.onchange = () => {
    hand(input.files, data.endings);
    input.value = "";
  };
  const paste = (event) => {
    if (hand(event.clipboardData?.files ?? [], data.endings)) event.preventDefault();
  };
  const stop = () => document.removeEventListener("paste", paste);
  stops.get(input)?.();
  stops.set(input, stop);
  document.addEventListener("paste", paste);
  return stop;
}
