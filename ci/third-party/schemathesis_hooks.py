"""Who asks in the schemathesis runs, whom they ask about, and what OpenAPI can not say.

Half of the ids in paths and bodies are those of accounts that exist, or requests would only meet
"not found". Ending a session ends the token that asked for it, so those two operations get a device
of their own each time; all others share one. Devices are minted through the server API, which costs
no password hash.
"""

import json
import os
import random
import re
import urllib.request

import schemathesis

API = os.environ["ANSER_API_URL"]
SERVER_KEY = os.environ["ANSER_SERVER_KEY"]
ENDS_SESSIONS = ("/v1/sessions/current", "/v1/me/sessions/{device}")
NUMBER_MAX = 2**53


def call(method, path, token=None, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data=data, method=method)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def user(name, system=False):
    made = call("POST", "/v1/server/users", SERVER_KEY, {"name": name, "system": system})
    return made["id"]


def device(user):
    path = f"/v1/server/users/{user}/sessions"
    return call("POST", path, SERVER_KEY, {"device_name": "schemathesis"})["token"]


class World:
    """Accounts of this run: one that asks, one whose sessions end, a friend and a system user."""

    def __init__(self):
        run = f"{random.SystemRandom().randrange(2**32):08x}"
        self.asks = user(f"asks-{run}")
        self.token = device(self.asks)
        self.ends = user(f"ends-{run}")
        self.friend = user(f"friend-{run}")
        self.system = user(f"system-{run}", system=True)
        pair = {"users": [self.asks, self.friend]}
        self.conversation = call("PUT", "/v1/server/relations", SERVER_KEY, pair)["conversation"]
        for number in range(5):
            text = {"from": self.system, "to": self.asks, "text": f"message {number}"}
            text["idempotency_key"] = str(number)
            call("POST", "/v1/server/messages", SERVER_KEY, text)


WORLD = World()


class Auth:
    def get(self, case, context):
        if case.operation.path.startswith("/v1/server/"):
            return SERVER_KEY
        if case.operation.path in ENDS_SESSIONS:
            return device(WORLD.ends)
        return WORLD.token

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


if not os.environ.get("ANSER_WITHOUT_AUTH"):
    schemathesis.auth(refresh_interval=None)(Auth)


def is_like(value, known):
    """Whether `known` can stand for `value`: what breaks the schema on purpose must stay broken."""
    if isinstance(known, list):
        pair = isinstance(value, list) and len(value) == len(known)
        return pair and all(is_like(one, other) for one, other in zip(value, known))
    return isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,15}", value) is not None


def known(parameters, names):
    """The parameters, half of the time with ids that exist."""
    digits = "".join(str(parameters.get(name)) for name in names)
    # By the generated value, so that the same seed gives the same requests.
    if sum(digits.encode("utf-8", "replace")) % 2:
        return parameters
    likely = {name: one for name, one in names.items() if is_like(parameters.get(name), one)}
    return parameters | likely


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if not path_parameters:
        return path_parameters
    conversation = "conversations" in context.operation.path
    one = WORLD.conversation if conversation else WORLD.friend
    return known(path_parameters, {"id": one, "user": WORLD.friend})


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict):
        return body
    pair = [WORLD.asks, WORLD.friend]
    ids = {"from": WORLD.system, "to": WORLD.asks, "user": WORLD.friend, "users": pair}
    return known(body, ids)


def ids(value):
    if isinstance(value, dict):
        for one in value.values():
            yield from ids(one)
    elif isinstance(value, list):
        for one in value:
            yield from ids(one)
    elif isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 16:
        yield int(value)


@schemathesis.hook
def filter_case(context, case):
    """Leaves out what is invalid by a rule that OpenAPI has no words for."""
    query = case.query or {}
    starts = [name for name in ("before", "after", "around") if name in query]
    if len(starts) > 1:
        return False
    body = case.body if isinstance(case.body, dict) else {}
    if body.get("user") == WORLD.asks or (case.path_parameters or {}).get("user") == WORLD.asks:
        return False
    users = body.get("users")
    if isinstance(users, list) and len(users) == 2 and users[0] == users[1]:
        return False
    if "from" in body and body.get("from") == body.get("to"):
        return False
    return all(number < NUMBER_MAX for number in ids([body, case.path_parameters or {}]))
