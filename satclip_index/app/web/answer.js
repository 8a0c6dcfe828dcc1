// What was found: a sentence, the legend, a table that sorts, and what can be taken along.

import {listen, send} from "./channel.js";
import {look} from "./map.js";

const get = id => document.getElementById(id);
const NAMES = {rank: "Rank", nearest_city: "Near", country: "Country", similarity: "Similarity", percentile: "Percentile", distance_km: "Distance, km", lon: "Lon", lat: "Lat", cell: "Cell"};
const DECIMALS = {similarity: 4, percentile: 2, distance_km: 0, lon: 2, lat: 2};
let columns = [];
let rows = [];
let sorted = {by: "rank", down: false};
let legend = null;

function shown(name, value) {
  if (value === null || value === undefined) return "";
  if (name in DECIMALS) return value.toLocaleString("en", {minimumFractionDigits: DECIMALS[name], maximumFractionDigits: DECIMALS[name]});
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function showTable() {
  const at = columns.indexOf(sorted.by);
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a ?? "").localeCompare(String(b ?? "")));
  const order = [...rows].sort((a, b) => compare(a[at], b[at]) * (sorted.down ? -1 : 1));
  const numeric = columns.map((_, i) => rows.some(row => typeof row[i] === "number"));
  const head = document.createElement("tr");
  columns.forEach((name, i) => {
    const th = document.createElement("th");
    th.scope = "col";
    th.className = numeric[i] ? "number" : "";
    const mark = name === sorted.by ? (sorted.down ? " ▼" : " ▲") : "";
    th.setAttribute("aria-sort", name !== sorted.by ? "none" : sorted.down ? "descending" : "ascending");
    const button = Object.assign(document.createElement("button"), {type: "button", textContent: (NAMES[name] ?? name) + mark});
    button.addEventListener("click", () => {
      sorted = {by: name, down: name === sorted.by ? !sorted.down : name === "similarity" || name === "percentile"};
      showTable();
      get("places").tHead.rows[0].cells[i].firstChild.focus();
    });
    th.append(button);
    head.append(th);
  });
  get("places").tHead.replaceChildren(head);
  get("places").tBodies[0].replaceChildren(...order.map(row => tableRow(row, numeric)));
}

function tableRow(row, numeric) {
  const tr = document.createElement("tr");
  row.forEach((value, i) => {
    const td = document.createElement("td");
    td.className = numeric[i] ? "number" : "";
    if (columns[i] === "nearest_city") {
      const button = Object.assign(document.createElement("button"), {type: "button", textContent: value});
      button.setAttribute("aria-label", `Show ${value} on the map`);
      button.addEventListener("click", () => look({lon: row[columns.indexOf("lon")], lat: row[columns.indexOf("lat")], width: 20}));
      td.append(button);
    } else {
      td.textContent = shown(columns[i], value);
    }
    tr.append(td);
  });
  return tr;
}

function showLegend() {
  get("legend").hidden = !legend;
  if (!legend) return;
  get("legend-bar").style.background = `linear-gradient(to right, ${legend.colors.join(", ")})`;
  get("legend-ticks").replaceChildren(...legend.ticks.map(([position, name, similarity]) => {
    const tick = document.createElement("span");
    tick.style.left = `${100 * position}%`;
    tick.append(name, document.createElement("br"), similarity.toFixed(2));
    return tick;
  }));
}

function showAnswer(answer) {
  get("summary").textContent = answer ? answer.summary : "Click on the map, or type a place.";
  get("notes").replaceChildren(...(answer?.notes ?? []).map(text => Object.assign(document.createElement("li"), {textContent: text})));
  get("found").hidden = !answer;
  [columns, rows, legend] = [answer?.columns ?? [], answer?.rows ?? [], answer?.legend ?? null];
  if (!columns.includes(sorted.by)) sorted = {by: "rank", down: false};
  showTable();
  showLegend();
}

function save(name, blob) {
  const link = Object.assign(document.createElement("a"), {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// The map as it is seen, with the question above it and the legend below.
function savePicture(map) {
  const drawn = Bokeh.index.find_one_by_id(map.id).export("png", false).canvas;
  const [band, width] = [64, drawn.width];
  const canvas = Object.assign(document.createElement("canvas"), {width, height: drawn.height + 2 * band});
  const ink = canvas.getContext("2d");
  ink.fillStyle = "white";
  ink.fillRect(0, 0, width, canvas.height);
  ink.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--sea");
  ink.fillRect(0, band, width, drawn.height);
  ink.drawImage(drawn, 0, band);
  ink.fillStyle = "#111";
  ink.font = "600 16px system-ui, sans-serif";
  ink.fillText(get("summary").textContent, 12, 38, width - 24);
  if (legend) drawLegend(ink, 60, band + drawn.height + 8, Math.min(560, width - 120));
  canvas.toBlob(blob => save("like.png", blob), "image/png");
}

function drawLegend(ink, left, top, width) {
  const colors = ink.createLinearGradient(left, 0, left + width, 0);
  legend.colors.forEach((color, i) => colors.addColorStop(i / (legend.colors.length - 1), color));
  ink.fillStyle = colors;
  ink.fillRect(left, top, width, 12);
  ink.fillStyle = "#111";
  ink.font = "12px system-ui, sans-serif";
  ink.textAlign = "center";
  for (const [position, name, similarity] of legend.ticks) {
    ink.fillText(name, left + width * position, top + 26);
    ink.fillText(similarity.toFixed(2), left + width * position, top + 41);
  }
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    get("copied").textContent = "Copied.";
  } catch {
    get("copied").textContent = "This browser does not allow copying; select the text below.";
  }
}

export function startAnswer(map) {
  listen("state", ({answer, command}) => {
    if (answer !== undefined) showAnswer(answer);
    get("command").textContent = command;
    get("copied").textContent = "";
  });
  listen("file", ({name, type, text}) => save(name, new Blob([text], {type})));
  for (const button of document.querySelectorAll("[data-download]")) {
    button.addEventListener("click", () => send({do: "download", kind: button.dataset.download}, {isQuestion: false}));
  }
  get("png").addEventListener("click", () => savePicture(map));
  get("copy-command").addEventListener("click", () => copy(get("command").textContent));
  get("copy-link").addEventListener("click", () => copy(location.href));
}
