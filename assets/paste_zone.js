// Paste: pictures on the clipboard become files for the server, wherever on the page they are pasted. The next one is sent
// when the one before was heard, so that none is lost when two messages meet, and no message holds two.

const LATE = 20_000; // milliseconds after which what was not heard is sent again with the next

export default function (component) {
  const root = component.parentElement.querySelector(".paste");
  root.zone ??= createZone(root);
  root.zone.show(component);
  return root.zone.leave;
}

function createZone(root) {
  let component = null;
  let number = 0;
  let line = []; // what was not heard yet, the first of it sent
  let sent = 0; // when, in milliseconds

  const read = (file) => new Promise((good) => {
    const reader = new FileReader();
    reader.onload = () => good(reader.result.split(",")[1] ?? "");
    reader.readAsDataURL(file);
  });
  async function paste(event) {
    const files = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
    if (!files.length) return;
    event.preventDefault();
    const { limit } = component.data;
    const large = files.some(({ size }) => size > limit);
    root.textContent = large
      ? `The pasted picture has more than ${Math.floor(limit / 2 ** 20)} MB. Cut out the region of interest.`
      : "";
    for (const file of files.filter(({ size }) => size <= limit)) {
      const data = await read(file);
      number = 1 + Math.max(number, component.data.heard);
      line.push({ number, name: file.name || "pasted picture", data });
      if (line.length === 1 || Date.now() - sent > LATE) send();
    }
  }
  function send() {
    if (!line.length) return;
    sent = Date.now();
    component.setTriggerValue("pasted", [line[0]]);
  }

  function show(next) {
    component = next;
    document.addEventListener("paste", paste); // once: it is the same listener
    const waiting = line.filter((file) => file.number > next.data.heard);
    const heard = waiting.length < line.length;
    line = waiting;
    if (heard) send();
  }
  return { show, leave: () => document.removeEventListener("paste", paste) };
}
