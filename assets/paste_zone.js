// Paste: a picture on the clipboard becomes a file for the server, wherever on the page it is pasted.

export default function (component) {
  const zone = component.parentElement.querySelector(".paste");
  zone.component = component; // the listener speaks through the latest one
  if (zone.listening) return;
  zone.listening = (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    const { limit } = zone.component.data;
    if (file.size > limit) {
      zone.textContent = `The pasted picture has more than ${Math.floor(limit / 2 ** 20)} MB. Cut out the region of interest.`;
      return;
    }
    const reader = new FileReader();
    reader.onload = () =>
      zone.component.setTriggerValue("pasted", { name: file.name || "pasted picture", data: reader.result.split(",")[1] });
    reader.readAsDataURL(file);
  };
  document.addEventListener("paste", zone.listening);
  return () => {
    document.removeEventListener("paste", zone.listening);
    zone.listening = null;
  };
}
