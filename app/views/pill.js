// How live the page is. The server sends a beat each second; only the browser can know that none
// came. It then asks /health: another process there means that this page is of the past.

const BEAT_LATE_MS = 3000
const ASK_MS = 2000
const OFFLINE_MS = 8000
const LOST_MS = 15000 // the server is there but this session is not coming back
const RELOAD_PAUSE_MS = 30000

const LABELS = {
  connecting: "Connecting…",
  live: "Live",
  degraded: "Degraded",
  reconnecting: "Reconnecting…",
  offline: "Offline",
}
const MEANINGS = {
  connecting: "The page is being connected.",
  live: "Events arrive as they happen.",
  degraded: "Redis is away; values are read from the store every 0.5 s.",
  reconnecting: "The connection to the server is interrupted; what you see may be old.",
  offline: "The server does not answer; what you see is old.",
}
// Told apart without colour too: disc, triangle, ring with a gap, cross.
const SHAPES = {
  connecting: ["M8 3a5 5 0 1 1-5 5", false],
  live: ["M8 3a5 5 0 1 0 .01 0z", true],
  degraded: ["M8 2.5 14 13H2z", true],
  reconnecting: ["M8 3a5 5 0 1 1-5 5", false],
  offline: ["M4 4l8 8M12 4l-8 8", false],
}

// In the zone of the site, as all times of the page.
const clock = (ms, zone) => new Date(ms).toLocaleTimeString([], {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone,
})

function element(tag, className, parent) {
  const made = document.createElement(tag)
  made.className = className
  parent.append(made)
  return made
}

function icon(parent) {
  const space = "http://www.w3.org/2000/svg"
  const svg = document.createElementNS(space, "svg")
  svg.setAttribute("viewBox", "0 0 16 16")
  svg.setAttribute("aria-hidden", "true")
  const path = document.createElementNS(space, "path")
  svg.append(path)
  parent.append(svg)
  return path
}

function reload_once() {
  const before = Number(sessionStorage.getItem("enms-reload") ?? 0)
  if (Date.now() - before > RELOAD_PAUSE_MS) {
    sessionStorage.setItem("enms-reload", String(Date.now()))
    location.reload()
  }
}

async function ask_health() {
  try {
    const answer = await fetch(new URL("health", location.href), {
      cache: "no-store", signal: AbortSignal.timeout(ASK_MS),
    })
    return answer.ok ? (await answer.json()).boot : null
  } catch {
    return null
  }
}

export function render({model}) {
  const root = document.createElement("div")
  root.className = "corner"
  const pill = element("button", "pill", root)
  pill.type = "button"
  pill.setAttribute("aria-describedby", "pill-tip")
  const path = icon(pill)
  const label = element("span", "label", pill)
  label.setAttribute("aria-live", "polite")
  const tip = element("div", "tip", root)
  tip.id = "pill-tip"
  tip.setAttribute("role", "tooltip")
  const meaning = element("strong", "", tip)
  const lines = ["since", "last event", "latency"].map((name) => {
    const line = element("div", "line", tip)
    element("span", "name", line).textContent = name
    return element("span", "value", line)
  })

  let state = ""
  const born = Date.now()
  let since = born
  let heard = 0 // when the last beat came
  let answered = born // when the server last showed a sign of life
  let asking = false
  let silent = false

  const show = (next, began) => {
    if (next !== state) {
      state = next
      since = began
      pill.dataset.state = state
      document.documentElement.dataset.connection = state
      document.documentElement.style.setProperty("--trust", state === "offline" ? "0.55" : "1")
      const [shape, filled] = SHAPES[state]
      path.setAttribute("d", shape)
      path.setAttribute("class", filled ? "filled" : "drawn")
      label.textContent = state === "offline" ? `Offline since ${clock(since, model.zone).slice(0, 5)}` : LABELS[state]
      meaning.textContent = MEANINGS[state]
    }
    const {lastEvent, latency} = model.beat
    const at = (ms) => clock(ms, model.zone)
    const values = [at(since), lastEvent ? at(lastEvent) : "none yet", latency == null ? "–" : `${latency} ms`]
    lines.forEach((line, i) => { line.textContent = values[i] })
  }

  const on_beat = () => {
    if (!model.beat.n) { return }
    heard = answered = Date.now()
    silent = false
    const here = heard - model.beat.now // the browser's clock against the server's
    show(model.beat.state, model.beat.since + here)
  }

  const is_late = () => Date.now() - (heard || born) > BEAT_LATE_MS
  const look = async () => {
    if (!is_late()) { return }
    if (heard && !silent) {
      silent = true
      show("reconnecting", Date.now())
    }
    if (!asking) {
      asking = true
      const boot = await ask_health()
      asking = false
      if (boot) { answered = Date.now() }
      const quiet = Date.now() - heard
      if (boot && heard && (boot !== model.boot || quiet > LOST_MS)) { reload_once() }
    }
    if (!is_late()) { return }
    if (Date.now() - answered > OFFLINE_MS) {
      show("offline", answered)
    } else {
      show(heard ? "reconnecting" : "connecting", since)
    }
  }

  if (!new URL(location.href).searchParams.has("theme")) {
    model.send_msg({dark: matchMedia("(prefers-color-scheme: dark)").matches})
  }
  pill.addEventListener("click", () => pill.classList.toggle("open"))
  pill.addEventListener("blur", () => pill.classList.remove("open"))
  show("connecting", Date.now())
  on_beat()
  model.on("beat", on_beat)
  const timer = setInterval(look, 500)
  document.addEventListener("visibilitychange", look)
  model.on("remove", () => {
    clearInterval(timer)
    document.removeEventListener("visibilitychange", look)
  })
  return root
}
