// Runs in the page before anything else: notes when rows, toasts, counts, progress and the state of
// the pill first stand on the screen. Everything lives in shadow roots, so every one is watched.
(() => {
  const records = []
  const seen = new Set()
  const last = {}
  const now = () => performance.timeOrigin + performance.now()
  const painted = (what) => requestAnimationFrame(() => records.push({what, at: now()}))

  const once = (what) => {
    if (!seen.has(what)) { seen.add(what); painted(what) }
  }
  const changed = (kind, value) => {
    if (last[kind] !== value) { last[kind] = value; painted(`${kind}:${value}`) }
  }
  const watched = (root, selector) => root.querySelectorAll(selector)

  function look(root) {
    for (const row of watched(root, "[data-anomaly-id]")) { once(`row:${row.dataset.anomalyId}`) }
    for (const toast of watched(root, ".toast .title")) { once(`toast:${toast.textContent}`) }
    for (const stack of watched(root, ".stack")) { changed("toasts", stack.children.length) }
    for (const number of watched(root, "[data-bump]")) { changed("count", number.dataset.bump) }
    for (const job of watched(root, "[data-job-id]")) {
      changed(`job:${job.dataset.jobId}`, `${job.dataset.state}:${job.dataset.progress}`)
    }
    for (const pill of watched(root, ".pill[data-state]")) { changed("pill", pill.dataset.state) }
  }

  function watch(root) {
    const options = {subtree: true, childList: true, attributes: true, characterData: true}
    new MutationObserver(() => look(root)).observe(root, options)
  }

  const attach = Element.prototype.attachShadow
  Element.prototype.attachShadow = function (options) {
    const root = attach.call(this, options)
    watch(root)
    return root
  }
  window.recorder = {
    first: (pattern, after) => {
      const wanted = new RegExp(pattern)
      return records.find(({what, at}) => at >= after && wanted.test(what)) ?? null
    },
    all: (pattern) => records.filter(({what}) => new RegExp(pattern).test(what)),
    now,
  }
})()
