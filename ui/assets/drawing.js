// Shows a picture. Data: {body: HTML, built and escaped by the server}
export default function ({ data, parentElement }) {
  parentElement.querySelector(".drawing").innerHTML = data.body;
}
