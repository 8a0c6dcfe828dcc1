// The page: started once Bokeh has drawn the map.

import {listen, open, send} from "./channel.js";
import {startMap, size} from "./map.js";
import {startControls} from "./controls.js";
import {startAnswer} from "./answer.js";

const error = document.getElementById("error");
listen("error", ({text}) => { error.textContent = text; });
listen("state", ({n, link, answer}) => {
  if (n !== 1 || answer) error.textContent = "";
  history.replaceState(null, "", link ? `?${link}` : location.pathname);
});

const theme = document.getElementById("theme");
function dress(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  theme.setAttribute("aria-pressed", String(dark));
}
const kept = localStorage.getItem("theme");
dress(kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
theme.addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  localStorage.setItem("theme", dark ? "dark" : "light");
  dress(dark);
});

const waiting = setTimeout(() => {
  error.textContent = `The server does not accept connections from ${location.host}. Open the address that it printed, or start it with --allow-origin ${location.host}`;
}, 10_000);

window.addEventListener("map-ready", ({detail: {map, channel, sketch}}) => {
  clearTimeout(waiting);
  open(channel);
  startMap(map, sketch);
  startControls();
  startAnswer(map);
  map.document.on_event("connection_lost", () => {
    error.textContent = "The connection to the server was lost. Restart the server, then reload this page.";
  });
  send({do: "hello", size: size(), link: location.search});
}, {once: true});
