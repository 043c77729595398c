// What no widget does: the browser's history as a person would tell it, and what is said aloud when it changes.
//
// Streamlit makes an entry of the history for each change of the query that comes from the server, and on the way to
// another page it first takes the query off the page that is left. Here an entry is a page, with the query it had when
// it stood still: the end of a run, what a reader chose in the browser itself, or two seconds without a change.

const MARK = { nodelens: true };
const STILL = 2000;

export default function ({ data, parentElement }) {
  const status = parentElement.querySelector('[role="status"]');
  if (status.textContent !== data.said) status.textContent = data.said;
  window.nodelensSettle ??= keepHistory();
  window.nodelensSettle();
}

function keepHistory() {
  const push = history.pushState.bind(history);
  const replace = history.replaceState.bind(history);
  let settled = location.href;
  let here = location.pathname;
  let timer;

  function settle() {
    clearTimeout(timer);
    settled = location.href;
    here = location.pathname;
  }

  history.replaceState = (state, title, url) => {
    replace({ ...state, ...MARK }, title, url);
    settle();
  };
  history.pushState = (state, title, url) => {
    if (new URL(url, location.href).pathname === location.pathname) {
      replace({ ...state, ...MARK }, title, url);
      clearTimeout(timer);
      timer = setTimeout(settle, STILL);
      return;
    }
    if (new URL(settled).pathname === location.pathname) replace(MARK, "", settled);
    push({ ...state, ...MARK }, title, url);
    settle();
  };
  window.addEventListener("popstate", (event) => {
    // Made before this file was loaded: the same page, with what Streamlit has since taken off its address.
    if (location.pathname === here && !location.hash && !history.state?.nodelens) {
      event.stopImmediatePropagation();
      history.back();
      return;
    }
    settle();
  }, true);
  replace({ ...history.state, ...MARK }, "");
  return settle;
}
