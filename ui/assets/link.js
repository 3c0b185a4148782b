// Copies the page's address. Data: {label, done, until, why, ends: when the link ends to work in seconds since 1970, or null}
export default function ({ data, parentElement: root }) {
  const button = root.querySelector("button");
  const label = button.querySelector("span");
  label.textContent = data.label;
  const ends = data.ends && new Date(1000 * data.ends).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  root.querySelector("small").textContent = ends ? `${data.until} ${ends}` : "";
  button.title = ends ? data.why : "";
  let timer;
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      label.textContent = data.done;
    } catch {
      window.prompt(data.label, location.href); // no clipboard without TLS
    }
    clearTimeout(timer);
    timer = setTimeout(() => (label.textContent = data.label), 2000);
  };
  return () => clearTimeout(timer);
}
