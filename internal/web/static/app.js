// What pages have beyond what works without script: copy buttons, live
// updates, local times, and buttons that are pressed once only.
"use strict";

// Copy buttons: data-copy names the element whose text is copied.
for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copy);
  const label = button.firstChild;
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(from.textContent);
    label.textContent = "Copied";
  } catch {
    label.textContent = "Select it";
    getSelection().selectAllChildren(from);
  }
  setTimeout(() => { label.textContent = before; }, 2000);
});

// A form is sent once; the button that was pressed says that it is at work.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  const button = event.submitter;
  if (button) {
    button.setAttribute("aria-busy", "true");
    if (button.dataset.busy) button.textContent = button.dataset.busy;
  }
});
// Back from another page: everything can be pressed again.
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// Times are in UTC, as in CloudTrail; pointing at one shows it in local time.
const local = (root) => {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  }
};
local(document);

// Live updates: data-live is where they come from, as parts of the page that
// were rendered and escaped by the server. What has the focus, or is unfolded,
// stays as it is.
const page = document.querySelector("[data-live]");
if (page) {
  const source = new EventSource(page.dataset.live);
  source.addEventListener("part", (event) => {
    const part = JSON.parse(event.data);
    const element = document.getElementById(part.id);
    if (!element || element.contains(document.activeElement)) return;
    const open = [...element.querySelectorAll("details[id][open]")].map((d) => d.id);
    const holder = document.createElement("template");
    holder.innerHTML = part.html;
    for (const id of open) holder.content.getElementById(id)?.setAttribute("open", "");
    if (element.innerHTML === part.html) return;
    element.replaceChildren(holder.content);
    for (const button of element.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
    local(element);
  });
  source.addEventListener("end", () => source.close());
  addEventListener("pagehide", () => source.close());
}

// The guided form: what it says to do in AWS is brought up to date while it is
// filled in, from what its button would answer. The text changes in place, so
// that nothing moves, and nothing that is being clicked on goes away.
const guided = document.querySelector("form[data-documents]");
if (guided) {
  const parts = (root) => [...root.querySelectorAll("pre[id], code[id], a[href]")];
  const names = (list) => list.map((part) => part.id || part.tagName).join();
  let asked = 0;
  guided.addEventListener("change", async (event) => {
    if (event.target.name === "how" || event.target.tagName === "TEXTAREA") return;
    const turn = ++asked;
    const body = new URLSearchParams(new FormData(guided));
    body.set("do", "documents");
    try {
      const answer = await fetch(location.pathname + location.search, { method: "POST", body });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(guided.dataset.documents);
      if (!next || turn !== asked) return;
      const shown = document.getElementById(guided.dataset.documents);
      const [old, fresh] = [parts(shown), parts(next)];
      if (names(old) === names(fresh)) {
        old.forEach((part, i) => {
          if (part.href) part.setAttribute("href", fresh[i].getAttribute("href"));
          else part.textContent = fresh[i].textContent;
        });
        return;
      }
      next.querySelector("#here")?.removeAttribute("id");
      const how = guided.querySelector("[name=how]:checked")?.id;
      shown.replaceChildren(...next.childNodes);
      if (how) document.getElementById(how).checked = true;
      for (const button of shown.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
    } catch {
      // The button does it, too.
    }
  });
}
