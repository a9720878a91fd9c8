"""`python stub_model.py PORT`: stands in for the language model of a Skyvern server under test.

It speaks the chat call of OpenAI's API on loopback, needs the standard library alone (it runs with
any Python), and takes its orders from words in the prompt, which Skyvern passes on:

    stub:terminate   the goal cannot be reached: the run ends `terminated`
    stub:never       the goal is never reached: a 2.0 run ends `failed` when its steps are used up
    stub:reload      each step reloads the page, and the goal is never reached: any run uses them up
    stub:categories  the model names categories of the failure, the surest last
    stub:code        a one-time code is needed: the run ends `terminated`: "took TOTP-1234"
    stub:error       HTTP 500: the run ends `failed`
    stub:no-url      a task without a URL is given none
    stub:wait=5      each answer takes so many seconds
    (none of them)   the goal is reached: the run ends `completed`

Every answer holds the fields of all of Skyvern's questions at once, since it does not know which
one it is asked.
"""

import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_WAIT = re.compile(r"stub:wait=(\d+(?:\.\d+)?)")
_CODE = re.compile(r"TOTP-\d{4}")
#: What `stub:categories` answers.
CATEGORIES = [
    {"category": "WRONG_PAGE_STATE", "confidence_float": 0.3, "reasoning": "stub"},
    {"category": "AUTH_FAILURE", "confidence_float": 0.9, "reasoning": "stub"},
]


def reply(asked: str) -> dict[str, Any]:
    """Return what the model says to a prompt, as the object that Skyvern reads out of it."""
    code = _CODE.search(asked) if "stub:code" in asked else None
    is_asking = "stub:code" in asked and code is None
    goes_on = "stub:reload" in asked
    gives_up = "stub:terminate" in asked or code is not None
    is_reached = not (gives_up or goes_on or is_asking or "stub:never" in asked)
    action = {
        "action_type": "RELOAD_PAGE" if goes_on else "COMPLETE" if is_reached else "TERMINATE",
        "reasoning": f"took {code[0]}" if code else "stub",
        "confidence_float": 1.0,
        "id": None,
        "user_detail_query": None,
        "user_detail_answer": None,
    }
    return {
        "action_plan": "stub",
        "actions": [action],
        "extracted_information": {"answer": "stub"},
        "failure_categories": CATEGORIES if "stub:categories" in asked else [],
        "output": {"answer": "stub"},
        "page_info": "stub",
        "place_to_enter_verification_code": is_asking,
        "plan": "stub",
        "reasoning": "stub",
        "should_enter_verification_code": is_asking,
        "should_terminate": gives_up,
        "summary": "stub",
        "task_type": "navigate",
        "thoughts": "stub",
        "title": "stub",
        "url": None if "stub:no-url" in asked else "http://127.0.0.1:9/chosen-by-the-model",
        "user_goal_achieved": is_reached,
        "user_goal_stage": "stub",
    }


class Model(BaseHTTPRequestHandler):
    """One call of the API."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say that the model is there."""
        self._send(200, {"object": "list", "data": [{"id": "stub", "object": "model"}]})

    def do_POST(self) -> None:
        """Answer a chat."""
        length = int(self.headers.get("content-length") or 0)
        asked = self.rfile.read(length).decode("utf-8", "replace")
        if wait := _WAIT.search(asked):
            time.sleep(float(wait[1]))
        if "stub:error" in asked:
            self._send(500, {"error": {"message": "as ordered", "type": "server_error"}})
            return
        message = {"role": "assistant", "content": json.dumps(reply(asked))}
        self._send(
            200,
            {
                "id": "chatcmpl-stub",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": "stub",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            },
        )

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing: prompts are the tests' own, and many."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Model).serve_forever()
