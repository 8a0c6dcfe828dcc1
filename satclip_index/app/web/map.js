// The map: view, clicks, keys, the tooltip, and drawing of areas.

import {listen, send} from "./channel.js";

const NARROWEST = 0.05; // degrees of longitude
const frame = document.getElementById("frame");
const tip = document.getElementById("tip");
const where = document.getElementById("where");
let map = null;
let sketch = null;
let sent = null; // the last view sent to the server; null before its first response
let timer = 0;
let pointed = 0; // the number of the last request about a point
let pointer = null;
let corners = null; // of an area being drawn

export const size = () => [frame.clientWidth, frame.clientHeight];
const wrap = lon => ((lon + 180) % 360 + 360) % 360 - 180;

function view() {
  const {start, end} = map.x_range;
  return {lon: (start + end) / 2, lat: (map.y_range.start + map.y_range.end) / 2, width: end - start};
}

// Show a view with equal scales of lon and lat, not beyond the poles.
export function look({lon, lat, width}) {
  const [across, up] = size();
  width = Math.min(Math.max(width, NARROWEST), 360);
  const half = width * up / across / 2;
  lat = half >= 90 ? 0 : Math.min(Math.max(lat, half - 90), 90 - half);
  lon = wrap(lon);
  const near = (a, b) => Math.abs(a - b) < width * 1e-6;
  const {x_range, y_range} = map;
  if (near(x_range.start, lon - width / 2) && near(x_range.end, lon + width / 2)
    && near(y_range.start, lat - half) && near(y_range.end, lat + half)) return;
  x_range.setv({start: lon - width / 2, end: lon + width / 2});
  y_range.setv({start: lat - half, end: lat + half});
}

function settle() {
  document.body.dataset.moving = "no";
  look(view());
  if (sent === null) return;
  const message = viewMessage();
  if (JSON.stringify(message) === sent) return;
  sent = JSON.stringify(message);
  send(message);
}

function viewMessage() {
  const {lon, lat, width} = view();
  const at = [lon, lat, width].map(degrees => Number(degrees.toFixed(4)));
  return {do: "view", at: [wrap(at[0]), at[1], Math.min(at[2], 360)], size: size()};
}

function settleSoon() {
  clearTimeout(timer);
  document.body.dataset.moving = "yes";
  timer = setTimeout(settle, 120);
}

function zoom(factor) {
  const {lon, lat, width} = view();
  look({lon, lat, width: width * factor});
}

// A point as text, with the precision of a pixel.
function placeText(lon, lat) {
  const decimals = Math.max(1, Math.ceil(-Math.log10(view().width / size()[0])));
  return `${wrap(lon).toFixed(decimals)},${Math.min(Math.max(lat, -90), 90).toFixed(decimals)}`;
}

function take(lon, lat, unlike) {
  if (Math.abs(lat) > 90) return;
  if (corners) {
    corners.push([lon, lat]);
    drawSketch();
  } else {
    send({do: "add", place: placeText(lon, lat), unlike});
  }
}

function point(lon, lat) {
  if (Math.abs(lat) <= 90) pointed = send({do: "at", lon: wrap(lon), lat}, {isQuestion: false});
}

export function startDrawing() {
  corners = [];
  drawSketch();
}

// Return the drawn polygon; null if it has fewer than three corners.
export function endDrawing() {
  const ring = corners ?? [];
  corners = null;
  drawSketch();
  if (ring.length < 3) return null;
  const rounded = ring.map(([lon, lat]) => [Number(wrap(lon).toFixed(4)), Number(lat.toFixed(4))]);
  return {type: "Polygon", coordinates: [[...rounded, rounded[0]]]};
}

function drawSketch() {
  const drawn = corners ?? [];
  sketch.data = {lon: drawn.map(([lon]) => lon), lat: drawn.map(([, lat]) => lat)};
  frame.dataset.corners = String(drawn.length);
}

function onKey(event) {
  if (event.target !== frame || event.ctrlKey || event.metaKey || event.altKey) return;
  const {lon, lat, width} = view();
  const step = width / 10;
  const moves = {
    ArrowLeft: () => look({lon: lon - step, lat, width}),
    ArrowRight: () => look({lon: lon + step, lat, width}),
    ArrowUp: () => look({lon, lat: lat + step, width}),
    ArrowDown: () => look({lon, lat: lat - step, width}),
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
    Enter: () => take(lon, lat, event.shiftKey),
  };
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  move();
  point(view().lon, view().lat);
}

function onPointer(event) {
  const box = frame.getBoundingClientRect();
  pointer = {x: event.clientX - box.left, y: event.clientY - box.top};
  tip.hidden = true;
  clearTimeout(onPointer.timer);
  onPointer.timer = setTimeout(() => {
    if (!pointer) return;
    const {x_range, y_range} = map;
    const [across, up] = size();
    point(x_range.start + (x_range.end - x_range.start) * pointer.x / across,
      y_range.end - (y_range.end - y_range.start) * pointer.y / up);
  }, 70);
}

function showAt({n, cell, lon, lat, similarity, percentile}) {
  if (n !== pointed) return;
  const lines = [`${cell}`, `${lon.toFixed(2)}, ${lat.toFixed(2)}`];
  lines.push(similarity === undefined ? "not in this atlas" : `similarity ${similarity.toFixed(4)}, percentile ${percentile.toFixed(2)}`);
  where.textContent = lines.join(" · ");
  if (!pointer) return;
  tip.textContent = lines.join("\n");
  tip.hidden = false;
  const [across, up] = size();
  tip.style.left = `${Math.max(0, Math.min(pointer.x + 14, across - tip.offsetWidth - 4))}px`;
  tip.style.top = `${pointer.y + 14 + tip.offsetHeight > up ? pointer.y - tip.offsetHeight - 8 : pointer.y + 14}px`;
}

export function startMap(figure, drawn) {
  [map, sketch] = [figure, drawn];
  // Bokeh reports the second of two quick clicks as a double click; corners may be clicked quickly.
  map.on_event("tap", ({x, y, modifiers}) => take(x, y, Boolean(modifiers?.shift)));
  map.on_event("doubletap", ({x, y}) => { if (corners) take(x, y, false); });
  for (const range of [map.x_range, map.y_range]) range.change.connect(settleSoon);
  new ResizeObserver(settleSoon).observe(frame);
  frame.addEventListener("keydown", onKey);
  frame.addEventListener("pointermove", onPointer);
  frame.addEventListener("pointerleave", () => { pointer = null; tip.hidden = true; });
  document.getElementById("zoom-in").addEventListener("click", () => zoom(0.5));
  document.getElementById("zoom-out").addEventListener("click", () => zoom(2));
  document.getElementById("zoom-all").addEventListener("click", () => look({lon: 0, lat: 0, width: 360}));
  listen("at", showAt);
  listen("state", ({n, view: [lon, lat, width]}) => {
    if (n !== 1) return;
    look({lon, lat, width});
    sent = JSON.stringify(viewMessage()); // the picture of this view was in the first response
  });
}
