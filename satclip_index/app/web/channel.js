// What the page and the server say to each other: JSON in two properties of one Bokeh model.

let model = null;
let asked = 0; // the number of the last message sent
let question = 0; // and of the last one that changes the answer
const listeners = {};

export function listen(kind, heard) {
  (listeners[kind] ??= []).push(heard);
}

export function send(message, {isQuestion = true} = {}) {
  asked += 1;
  if (isQuestion) {
    question = asked;
    document.body.dataset.asked = String(question);
    busy(true);
  }
  model.asked = JSON.stringify({n: asked, ...message});
  return asked;
}

export function open(channel) {
  model = channel;
  channel.properties.said.change.connect(() => {
    const message = JSON.parse(channel.said);
    for (const heard of listeners[message.kind] ?? []) heard(message);
    if (message.n >= question && ["state", "error"].includes(message.kind)) busy(false);
  });
}

function busy(is) {
  document.body.dataset.busy = is ? "yes" : "no";
  document.getElementById("answer").setAttribute("aria-busy", String(is));
}
