// Puts a picture on the page. Data: {body: HTML that the server made and escaped}
export default function ({ data, parentElement }) {
  parentElement.querySelector(".drawing").innerHTML = data.body;
}
