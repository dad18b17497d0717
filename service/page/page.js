// The page: takes pictures, asks the service, shows a card for each.
import { WORDS } from "./words.js";

const byId = (id) => document.getElementById(id);
const cards = byId("cards");
const SMALLEST = 12; // the scale ends at 10^-12
let reports = false; // whether the service gives them
const shown = []; // what the cards are about, so that another language can show it again
let language = navigator.language?.startsWith("de") ? "de" : "en";
let busy = 0;

const words = () => WORDS[language];

function translate() {
  document.documentElement.lang = language;
  document.title = words().title;
  byId("language").value = language;
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = words()[element.dataset.word];
  }
  cards.setAttribute("aria-label", words().results);
  showAll();
}

function showAll() {
  cards.replaceChildren(...shown.map(card));
}

function chance(p) {
  if (p >= 0.001) return p.toFixed(p < 0.1 ? 4 : 2).replace(".", language === "de" ? "," : ".");
  const [digits, exponent] = p.toExponential(0).split("e-");
  const raised = [...exponent].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  return `${digits}\u00a0·\u00a010⁻${raised}`;
}

const place = (p) => Math.min(100, (-Math.log10(Math.max(p, 1e-300)) / SMALLEST) * 100);

function card({ file, url, answer, picture }) {
  const item = byId("card").content.cloneNode(true).firstElementChild;
  const find = (selector) => item.querySelector(selector);
  find("img").src = url;
  find("h2").textContent = file;
  find("summary").textContent = words().json;
  find("pre").textContent = JSON.stringify(answer, null, 2);
  if (answer.error) {
    item.classList.add("bad");
    find("img").remove();
    find(".verdict").textContent = words().unreadable(answer.error);
    for (const name of [".scale", ".chance", ".meaning", "dl"]) find(name).remove();
    return item;
  }
  const isOurs = answer.verdict !== "not-ours";
  item.classList.add(isOurs ? "ours" : "other");
  const revoked = answer.revoked ? ` ${words().revoked}` : "";
  find(".verdict").textContent = `${words()[answer.verdict]}.${revoked}`;
  const p = chance(answer.pvalue);
  const level = chance(answer.level);
  find(".scale").setAttribute("aria-label", words().scale(p, level));
  find(".mark").style.left = `${place(answer.pvalue)}%`;
  find(".level").style.left = `${place(answer.level)}%`;
  find(".chance").textContent = words().chance(p, level);
  find(".meaning").textContent = isOurs ? words().meaning_yes : words().meaning_no;
  const facts = [
    ["name", answer.name || answer.licensee],
    ["handle", answer.handle],
    ["matches", `${answer.matches} / ${answer.num_bits}`],
    ["edit", answer.edit],
    ["tried", answer.views > 1 ? words().views(answer.views) : words().none],
    ["calibrated", answer.calibrated ? words().yes(answer.calibration_time) : words().no],
    ["resized", answer.resized ? `${answer.width} × ${answer.height}` : null],
    ["time", new Date(answer.time).toLocaleString(language)],
  ];
  for (const [key, value] of facts) {
    if (!value) continue;
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = words()[key];
    text.textContent = value;
    find("dl").append(term, text);
  }
  if (reports && picture) find(".about").append(reportButton(picture, file));
  return item;
}

// The picture is sent once more, and judged once more: the service has kept nothing of it.
function reportButton(picture, file) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "report";
  button.textContent = words().report;
  button.addEventListener("click", async () => {
    button.disabled = true;
    byId("problem").textContent = "";
    try {
      const response = await send("v1/report", [picture]);
      const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))[1];
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await response.blob());
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      byId("status").textContent = words().reported(file);
    } catch (error) {
      byId("problem").textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

async function send(path, files) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name || words().pasted);
  let response;
  try {
    response = await fetch(path, { method: "POST", body: form });
  } catch {
    throw new Error(words().offline);
  }
  const retry = response.headers.get("Retry-After");
  if (retry) throw new Error(words().later(retry));
  if (!response.ok) {
    const body = await response.json().catch(() => ({ error: response.statusText }));
    throw new Error(words().failed(body.error));
  }
  return response;
}

async function ask(files) {
  return (await (await send("v1/verify", files)).json()).results;
}

async function take(files) {
  if (!files.length) return;
  byId("problem").textContent = "";
  byId("status").textContent = words().working(files.length);
  busy += 1;
  document.body.classList.add("busy");
  try {
    // A few at a time: a picture that is done is seen.
    for (let start = 0; start < files.length; start += 4) {
      const part = files.slice(start, start + 4);
      const answers = await ask(part);
      answers.forEach((answer, number) => {
        const file = part[number].name || words().pasted;
        const picture = part[number];
        const entry = { file, url: URL.createObjectURL(picture), answer, picture };
        shown.unshift(entry);
        cards.prepend(card(entry));
      });
    }
    byId("status").textContent = words().done(files.length);
  } catch (error) {
    byId("status").textContent = "";
    byId("problem").textContent = error.message;
  } finally {
    busy -= 1;
    document.body.classList.toggle("busy", busy > 0);
  }
}

const pictures = (list) => [...list].filter((file) => file instanceof File);
const drop = byId("drop");
byId("choose").addEventListener("change", async (event) => {
  const files = pictures(event.target.files);
  await take(files);
  event.target.value = "";
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(pictures(event.dataTransfer.files));
});
document.addEventListener("paste", (event) => take(pictures(event.clipboardData.files)));
byId("language").addEventListener("change", (event) => {
  language = event.target.value;
  translate();
});

translate();
fetch("v1/models")
  .then((response) => response.json())
  .then(({ models: [model] }) => {
    byId("model").textContent = `${model.model_name} · ${model.model_hash.slice(0, 12)}`;
    reports = model.reports;
    showAll();
  })
  .catch(() => {});
