// Panel puts every choice into the address; where the address already says it, as after the
// browser's own back and forward, it is no new entry in the browser's history.

const chosen = (search) => {
  const pairs = [...new URLSearchParams(search)].filter(([, value]) => value !== "")
  return JSON.stringify(pairs.sort(([a], [b]) => a.localeCompare(b)))
}

export function render({model}) {
  const push = history.pushState
  history.pushState = function (state, title, url) {
    const next = new URL(url, location.href)
    const is_new = next.pathname !== location.pathname || chosen(next.search) !== chosen(location.search)
    if (is_new) { push.call(history, state, title, url) }
  }
  const tell = () => model.send_msg({search: location.search})
  addEventListener("popstate", tell)
  model.on("remove", () => {
    removeEventListener("popstate", tell)
    history.pushState = push
  })
  return document.createElement("span")
}
