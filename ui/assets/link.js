// Copies the page's URL. Data: {label, done, until, why, ends: expiry of the link in seconds since 1970, or null}
// Streamlit reruns a component on the same element when the words change, without calling its clean-up.
const timers = new WeakMap(); // button -> timer that restores the label

export default function ({ data, parentElement: root }) {
  const button = root.querySelector("button");
  const label = button.querySelector("span");
  clearTimeout(timers.get(button));
  label.textContent = data.label;
  const ends = data.ends && new Date(1000 * data.ends).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  root.querySelector("small").textContent = ends ? `${data.until} ${ends}` : "";
  button.title = ends ? data.why : "";
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      label.textContent = data.done;
    } catch {
      window.prompt(data.label, location.href); // no clipboard without TLS
    }
    clearTimeout(timers.get(button));
    timers.set(button, setTimeout(() => (label.textContent = data.label), 2000));
  };
  return () => clearTimeout(timers.get(button));
}
