// Toasts, the newest at the bottom. Who points at one or holds the focus in it keeps it.

const WORDS = {success: "Done", info: "Note", warning: "Warning", danger: "Critical"}
const GRAVITY = Object.keys(WORDS)
const LATE_MS = 3000 // then the connection was interrupted, as the pill tells it
const DRIFT_MS = 100 // of two clocks between two toasts

function element(tag, className, parent, text = "") {
  const made = document.createElement(tag)
  made.className = className
  made.textContent = text
  parent.append(made)
  return made
}

function fill(toast, {kind, title, text}) {
  toast.dataset.kind = kind
  toast.setAttribute("role", kind === "danger" || kind === "warning" ? "alert" : "status")
  const body = element("div", "body", toast)
  element("span", "word", body, WORDS[kind] ?? "")
  element("bdi", "title", body, title)
  if (text) { element("bdi", "text", body, text) }
  const close = element("button", "close", toast, "×")
  close.type = "button"
  close.setAttribute("aria-label", "Close")
  close.addEventListener("click", () => toast.remove())
}

function leave_after(toast, seconds) {
  setTimeout(() => {
    if (toast.matches(":hover, :focus-within")) { leave_after(toast, 1) } else { toast.remove() }
  }, seconds * 1000)
}

export function render({model}) {
  const stack = document.createElement("div")
  stack.className = "stack"
  stack.setAttribute("aria-label", "Messages")
  stack.popover = "manual"
  const rise = () => { // above what was opened meanwhile
    if (stack.matches(":popover-open")) { stack.hidePopover() }
    stack.showPopover()
  }
  const place = () => stack.classList.toggle("aside", model.aside)
  place()
  model.on("aside", place)

  let fastest = Infinity // the clocks' difference and the shortest way here, in ms
  const is_late = ({sent}) => {
    const age = Date.now() - sent
    fastest = Math.min(age, fastest + DRIFT_MS)
    return age - fastest > LATE_MS
  }
  // What came too late to be news is one toast; the lists of the page have all of it.
  const belated = ({kind, title}) => {
    const before = stack.querySelector(".belated")
    const kinds = before ? [before.dataset.kind, kind] : [kind]
    before?.remove()
    return {
      kind: GRAVITY[Math.max(...kinds.map((each) => GRAVITY.indexOf(each)))],
      title: "Messages came while the connection was interrupted",
      text: `The newest: ${title}`,
    }
  }

  model.on("msg:custom", (told) => {
    const late = is_late(told)
    if (told.alone) { stack.replaceChildren() }
    const shown = late ? belated(told) : told
    const toast = element("div", late ? "toast belated" : "toast", stack)
    fill(toast, shown)
    rise()
    leave_after(toast, told.seconds)
    while (stack.children.length > told.most) { stack.firstChild.remove() }
  })
  return stack
}
