// Toasts, the newest at the bottom. Who points at one or holds the focus in it keeps it.

const WORDS = {success: "Done", info: "Note", warning: "Warning", danger: "Critical"}

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
  model.on("msg:custom", (told) => {
    if (told.alone) { stack.replaceChildren() }
    const toast = element("div", "toast", stack)
    fill(toast, told)
    leave_after(toast, told.seconds)
    while (stack.children.length > told.most) { stack.firstChild.remove() }
  })
  return stack
}
