"""A chat that goes on while its code is replaced. `smoothserve chat:app` in this directory, then http://127.0.0.1:8000/.

One room, in one worker. Change VERSION, reload, and every open page shows the new one; nobody is thrown out.
"""

import asyncio
import json

VERSION = 1  # change it while the chat is open, then: kill -HUP ...

PAGE = b"""<!doctype html>
<title>chat</title>
<h1>chat, served by version <span id="version">?</span></h1>
<p>connections made by this page: <span id="opened">0</span></p>
<form><input id="text" autocomplete="off" autofocus> <button>say</button></form>
<ul id="said"></ul>
<script>
let socket
function open() {
  document.querySelector("#opened").textContent++
  socket = new WebSocket(`ws://${location.host}/room`)
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data)
    if (message.version) document.querySelector("#version").textContent = message.version
    if (message.text) {
      const item = document.createElement("li")
      item.textContent = `${message.name}: ${message.text}`
      document.querySelector("#said").append(item)
    }
  }
  socket.onclose = () => setTimeout(open, 1000)
}
document.querySelector("form").onsubmit = (event) => {
  event.preventDefault()
  const input = document.querySelector("#text")
  socket.send(input.value)
  input.value = ""
}
open()
</script>
"""

members = {}  # the name of each open WebSocket, by its send


async def app(scope, receive, send):
    """Serve the page and the room."""
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})
    elif scope["type"] == "websocket":
        await join(scope, receive, send)
    else:
        raise NotImplementedError(scope["type"])


async def join(scope, receive, send):
    """Let a client in, until it leaves or the next worker goes on with it."""
    handover = scope["extensions"]["smoothserve.handover"]
    state = handover["state"]
    name = state.decode() if state else f"guest {scope['client'][1]}"
    handover["attach"](name.encode())  # opts in, and what the next call will find in `state`
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    await send(json_message(version=VERSION))
    members[send] = name
    try:
        while (message := await receive())["type"] != "websocket.disconnect":
            await say(name, message["text"])
    finally:
        del members[send]


async def say(name, text):
    """Tell everyone; whoever has just gone does not matter."""
    await asyncio.gather(*(one(json_message(name=name, text=text)) for one in members), return_exceptions=True)


def json_message(**values):
    """Make a message of the room's."""
    return {"type": "websocket.send", "text": json.dumps(values)}
