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
