// Shows markup that the server made and escaped, by changing what differs: what is new glows once,
// a number that goes up bumps once, ages tick here. Nothing else moves.

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches
const key_of = (node) => node.nodeType === 1 ? node.getAttribute("data-key") : null

function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s < 15) { return "now" }
  if (s < 100) { return `${s} s` }
  if (s < 5400) { return `${Math.round(s / 60)} min` }
  if (s < 172800) { return `${Math.round(s / 3600)} h` }
  return `${Math.round(s / 86400)} d`
}

function tick(root, offset) {
  for (const node of root.querySelectorAll("[data-at]")) {
    const told = age(Date.now() + offset - Number(node.dataset.at))
    const text = told === "now" ? told : told + (node.dataset.suffix ?? "")
    if (node.textContent !== text) { node.textContent = text }
  }
}

function sync_attributes(old, fresh) {
  for (const {name} of [...old.attributes]) {
    if (!fresh.hasAttribute(name)) { old.removeAttribute(name) }
  }
  for (const {name, value} of fresh.attributes) {
    if (old.getAttribute(name) === value) { continue }
    if (name === "data-bump" && Number(value) > Number(old.getAttribute(name)) && !calm()) {
      old.animate([{transform: "scale(1)"}, {transform: "scale(1.28)"}, {transform: "scale(1)"}], 450)
    }
    old.setAttribute(name, value)
  }
}

function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh)
  } else if (old.nodeType !== 1) {
    if (old.data !== fresh.data) { old.data = fresh.data }
  } else {
    sync_attributes(old, fresh)
    if (!old.hasAttribute("data-at")) { morph_children(old, fresh) }
  }
}

function morph_children(old, fresh) {
  const keyed = new Map()
  for (const node of old.children) {
    if (key_of(node)) { keyed.set(key_of(node), node) }
  }
  let at = old.firstChild
  for (const next of [...fresh.childNodes]) {
    const key = key_of(next)
    const match = key ? keyed.get(key) : at && !key_of(at) ? at : null
    if (!match) {
      old.insertBefore(next, at)
      if (key && old.hasAttribute("data-glow")) { glow(next) }
      continue
    }
    if (match === at) { at = at.nextSibling } else { old.insertBefore(match, at) }
    morph(match, next)
  }
  while (at) {
    const gone = at
    at = at.nextSibling
    gone.remove()
  }
}

function glow(node) {
  if (calm()) { return }
  const soft = getComputedStyle(node).getPropertyValue("--accent-soft")
  node.animate([{backgroundColor: soft}, {backgroundColor: "transparent"}], {duration: 2500, easing: "ease-in"})
}

export function render({model, el}) {
  const root = document.createElement("div")
  root.className = "part"
  let offset = 0
  const update = () => {
    offset = model.clock - Date.now()
    const parsed = document.createElement("template")
    parsed.innerHTML = model.html
    morph_children(root, parsed.content)
    tick(root, offset)
  }
  const press = (event) => {
    const target = event.target.closest("[data-act]")
    if (target) { model.send_msg({act: target.dataset.act, key: target.dataset.key ?? ""}) }
  }
  root.addEventListener("click", press)
  root.addEventListener("keydown", (event) => {
    const is_press = event.key === "Enter" || event.key === " "
    if (is_press && event.target.matches("[data-act]:not(button)")) {
      event.preventDefault() // a space would scroll
      press(event)
    }
  })
  model.on("msg:custom", ({focus}) => {
    root.querySelector(`[data-act][data-key="${CSS.escape(focus)}"]`)?.focus()
  })
  update()
  model.on("html", update)
  const timer = setInterval(() => tick(root, offset), 1000)
  model.on("remove", () => clearInterval(timer))
  return root
}
