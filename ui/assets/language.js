// Says in which language the page is. Data: {language: "en"}
export default function ({ data }) {
  document.documentElement.lang = data.language;
}
