// Controls: examples, search rules, area and table.

import {listen, send} from "./channel.js";
import {endDrawing, startDrawing} from "./map.js";

const PART_BYTES = 768 * 1024; // of a table per message
const get = id => document.getElementById(id);
const km = value => `${Number(value).toLocaleString("en")} km`;
const SLIDERS = {exclude: km, apart: km, min: value => (Number(value) < 0 ? "any" : Number(value).toFixed(2))};

function add(unlike) {
  const place = get("add-place").value.trim();
  if (place) send({do: "add", place, unlike});
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function showExamples(examples, labels) {
  const rows = examples.map(({place, weight, unlike}, i) => {
    const name = labels?.[i] ?? place;
    const sign = element("span", {className: "sign", textContent: unlike ? "−" : "+"});
    sign.setAttribute("aria-hidden", "true");
    const label = element("span", {className: "name", textContent: `${unlike ? "Not " : ""}${name}`});
    const weigh = element("input", {type: "number", min: "0.1", max: "1000", step: "any", value: weight, title: "Weight"});
    weigh.setAttribute("aria-label", `Weight of ${name}`);
    weigh.addEventListener("change", () => send({do: "weigh", i, weight: weigh.value}));
    const remove = element("button", {type: "button", textContent: "×", title: "Remove"});
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => { send({do: "remove", i}); get("add-place").focus(); });
    return element("li", {}, sign, label, weigh, remove);
  });
  get("examples").replaceChildren(...rows);
}

function showRules(rules) {
  for (const [id, words] of Object.entries(SLIDERS)) {
    const slider = get(id);
    slider.value = rules[id] ?? slider.min;
    describe(slider, words, rules[id] ?? slider.min);
  }
  get("k").value = rules.k;
  get("res").value = rules.res ?? "";
  get("ocean").checked = rules.ocean;
  get("where-text").value = rules.where;
}

function describe(slider, words, value) {
  document.querySelector(`output[for="${slider.id}"]`).textContent = words(value);
  slider.setAttribute("aria-valuetext", words(value));
}

function startRules() {
  for (const [id, words] of Object.entries(SLIDERS)) {
    const slider = get(id);
    slider.addEventListener("input", () => describe(slider, words, slider.value));
    slider.addEventListener("change", () => {
      const none = id === "min" && Number(slider.value) < 0;
      send({do: "set", name: id, value: none ? null : slider.value});
    });
  }
  for (const id of ["k", "res"]) get(id).addEventListener("change", () => send({do: "set", name: id, value: get(id).value}));
  get("ocean").addEventListener("change", () => send({do: "set", name: "ocean", value: get("ocean").checked}));
}

function startArea() {
  const [draw, end, file] = [get("draw"), get("draw-end"), get("area-file")];
  const show = drawing => {
    draw.setAttribute("aria-pressed", String(drawing));
    end.hidden = !drawing;
    get("area-status").textContent = drawing ? "Click the corners on the map, or move the map and press Enter; then close the area." : "";
  };
  draw.addEventListener("click", () => {
    const drawing = draw.getAttribute("aria-pressed") !== "true";
    show(drawing);
    if (drawing) { startDrawing(); get("frame").focus({preventScroll: true}); } else endDrawing();
  });
  end.addEventListener("click", () => {
    const polygon = endDrawing();
    show(false);
    if (polygon) send({do: "area", text: JSON.stringify(polygon), name: ""});
    else get("area-status").textContent = "An area needs at least three corners; nothing was drawn.";
  });
  get("area-drop").addEventListener("click", () => { file.value = ""; send({do: "area", text: "", name: ""}); });
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > 2e6) get("error").textContent = `${chosen.name} is larger than 2 MB; simplify the area.`;
    else send({do: "area", text: await chosen.text(), name: chosen.name});
  });
}

async function sendTable(file) {
  const of = Math.max(1, Math.ceil(file.size / PART_BYTES));
  for (let i = 0; i < of; i += 1) {
    const bytes = new Uint8Array(await file.slice(i * PART_BYTES, (i + 1) * PART_BYTES).arrayBuffer());
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    send({do: "part", name: file.name, i, of, data: btoa(text)});
  }
}

function startTable() {
  const file = get("table-file");
  file.addEventListener("change", () => {
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > 20e6) get("error").textContent = `${chosen.name} is larger than 20 MB, the most that can be loaded here.`;
    else sendTable(chosen);
  });
  get("where-form").addEventListener("submit", event => {
    event.preventDefault();
    send({do: "set", name: "where", value: get("where-text").value});
  });
  get("table-drop").addEventListener("click", () => { file.value = ""; send({do: "drop table"}); });
  let columns = "";
  listen("table", message => {
    columns = `Columns: ${Object.entries(message.columns).map(([name, kind]) => `${name} (${kind.toLowerCase()})`).join(", ")}.`;
  });
  listen("state", ({table}) => {
    get("where-form").hidden = !table;
    get("table-status").textContent = table ? `Searching in the rows of ${table}. ${columns}` : "";
  });
}

export function startControls() {
  get("add").addEventListener("submit", event => { event.preventDefault(); add(false); });
  get("add-unlike").addEventListener("click", () => add(true));
  get("clear").addEventListener("click", () => {
    for (const id of ["area-file", "table-file", "add-place"]) get(id).value = "";
    send({do: "clear"});
  });
  startRules();
  startArea();
  startTable();
  let labels = [];
  listen("state", ({examples, rules, within, answer}) => {
    if (answer !== undefined) labels = answer?.labels ?? [];
    if (answer !== undefined && get("add-place").value) get("add-place").value = "";
    showExamples(examples, labels);
    showRules(rules);
    get("area-drop").hidden = !within;
    if (get("draw").getAttribute("aria-pressed") !== "true") get("area-status").textContent = within ? `Searching within ${within === "drawn here" ? "the area drawn" : within}.` : "";
  });
}
