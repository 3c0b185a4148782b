// Sets the language of the document. Data: {language: "en"}
export default function ({ data }) {
  document.documentElement.lang = data.language;
}
