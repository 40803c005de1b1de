"""Logs in by SASL OAUTHBEARER through libpq 18 (the one inside psycopg-binary), with a token that this
program supplies by libpq's hook, and prints what the server answers.

Environment: TOKEN; arguments: a connection string, a statement.
"""

import ctypes
import glob
import os
import sys

import psycopg
import psycopg_binary

libs = os.path.join(os.path.dirname(os.path.dirname(psycopg_binary.__file__)), "psycopg_binary.libs")
libpq = ctypes.CDLL(glob.glob(os.path.join(libs, "libpq-*.so*"))[0])

BEARER_TOKEN = 1  # PQAUTHDATA_OAUTH_BEARER_TOKEN


class Request(ctypes.Structure):
    """PGoauthBearerRequest of libpq-fe.h."""

    _fields_ = [
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("async_", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_char_p),
        ("user", ctypes.c_void_p),
    ]


HOOK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
token = ctypes.c_char_p(os.environ["TOKEN"].encode())


@HOOK
def hook(kind, conn, data):
    if kind != BEARER_TOKEN:
        return 0
    request = ctypes.cast(data, ctypes.POINTER(Request)).contents
    print("asked for a token:", request.openid_configuration.decode(), request.scope.decode() if request.scope else "-")
    request.token = token.value
    return 1


libpq.PQsetAuthDataHook.argtypes = [HOOK]
libpq.PQsetAuthDataHook(hook)
print("libpq", psycopg.pq.version())
try:
    with psycopg.connect(sys.argv[1]) as conn:
        print(conn.execute(sys.argv[2]).fetchall())
except psycopg.Error as e:
    print("error:", e)
    sys.exit(1)
