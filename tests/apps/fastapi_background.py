"""FastAPI background tasks: each answer is followed by two seconds of work that ends with a line in `finished.txt`."""

import asyncio
import os
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI, Request, Response

HERE = Path(__file__).parent
VERSION = (HERE / "version.txt").read_text().strip()
SECONDS = 2.0

app = FastAPI()


async def work(token: str) -> None:
    await asyncio.sleep(SECONDS)
    with (HERE / "finished.txt").open("a") as file:
        file.write(f"{token}\n")


@app.api_route("/echo/{token}", methods=["GET", "POST"])
async def echo(token: str, request: Request, tasks: BackgroundTasks) -> Response:
    tasks.add_task(work, token)
    return Response(f"{VERSION} {os.getpid()} {token}\n".encode() + await request.body())
