// Messages between the page and the server: JSON in two properties of a Bokeh model.

let model = null;
let sent = 0; // number of the last message
let question = 0; // number of the last message that changes the results
const listeners = {};

export function listen(kind, handler) {
  (listeners[kind] ??= []).push(handler);
}

export function send(message, {isQuestion = true} = {}) {
  sent += 1;
  if (isQuestion) {
    question = sent;
    document.body.dataset.question = String(question);
    busy(true);
  }
  model.request = JSON.stringify({n: sent, ...message});
  return sent;
}

export function open(channel) {
  model = channel;
  channel.properties.response.change.connect(() => {
    const message = JSON.parse(channel.response);
    for (const handle of listeners[message.kind] ?? []) handle(message);
    if (message.n >= question && ["state", "error"].includes(message.kind)) busy(false);
  });
}

function busy(is) {
  document.body.dataset.busy = is ? "yes" : "no";
  document.getElementById("answer").setAttribute("aria-busy", String(is));
}
