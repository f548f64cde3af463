#!/usr/bin/env python3
"""Verifies the manifests of a copy of a bucket: docs/bucket-format.md, "Manifests".

usage: verify_manifests.py FOLDER JWKS    (Debian: python3, python3-cryptography)
"""
import base64, hashlib, json, pathlib, sys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

folder, problems, listed = pathlib.Path(sys.argv[1]), [], set()

def b64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

def canonical(value):  # RFC 8785, of what a head has: ASCII and integers
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

def fingerprint(key):  # RFC 7638
    return base64.urlsafe_b64encode(hashlib.sha256(canonical({k: key[k] for k in ("crv", "kty", "x")})).digest()).rstrip(b"=").decode()

def read(name, *sha256):  # one of these
    try:
        data = (folder / name).read_bytes()
    except OSError:
        return problems.append(f"missing: {name}")
    if sha256 and hashlib.sha256(data).hexdigest() not in sha256:
        return problems.append(f"altered: {name}")
    return data

keys = {fingerprint(k): Ed25519PublicKey.from_public_bytes(b64(k["x"]))
        for k in json.load(open(sys.argv[2]))["keys"] if k["kty"] == "OKP" and k["crv"] == "Ed25519"}

for drain in sorted(p for p in (folder / "manifest").iterdir() if p.is_dir()):
    previous = live = before = None
    names = sorted(p.name for p in drain.glob("*.json") if p.name.count(".") == 1)
    first, start = json.loads((drain / names[0]).read_bytes()) if names else {}, 1
    if "movedFrom" in first:  # believed if it is signed
        start, previous = first["number"], first.get("previous")
        print(f"{drain.name}: manifests 1 to {start - 1} are elsewhere, the last in {first['movedFrom']}")
    for number in range(start, start + len(names)):
        stem = f"manifest/{drain.name}/{number:012d}"
        data, signature = read(stem + ".json"), read(stem + ".sig.json")
        if data is None or signature is None:
            break  # what follows cannot be believed to follow
        m, s, digest = json.loads(data), json.loads(signature), hashlib.sha256(data).hexdigest()
        head = {"drainId": drain.name, "format": "auditdrain-head/v1", "number": number, "sha256": digest, "teamId": m["teamId"]}
        try:
            keys[s["keyId"]].verify(b64(s["signature"]), canonical(head))
        except (KeyError, InvalidSignature):
            problems.append(f"signature: {stem}.json")
        if (m["format"], m["drainId"], m["number"], m.get("previous")) != ("auditdrain-manifest/v1", drain.name, number, previous):
            problems.append(f"chain: {stem}.json")
        if before is not None and m["delivered"]["from"] != before:
            problems.append(f"time: {stem}.json")
        previous, before, sequence = digest, m["delivered"]["to"], m["sequence"]
        if "replayId" not in m:
            if live is not None and sequence["from"] != live:
                problems.append(f"sequence: {stem}.json")
            live = sequence["to"]
        gone = sum(x["sequence"]["to"] - x["sequence"]["from"] for x in m["skips"] + m["gaps"])
        if sequence["to"] - sequence["from"] != m["count"] + gone or m["count"] != sum(p["count"] for p in m["parts"]):
            problems.append(f"count: {stem}.json")
        listed.update(m["uncertain"])
        for n, part in enumerate(m["parts"], 1):
            for o in json.loads(read(f"{stem}.part-{n:06d}.json", part["sha256"]) or '{"objects": []}')["objects"]:
                listed.add(o["key"])
                read(o["key"], *(x["sha256"] for x in (o, o.get("or", o))))
    print(f"{drain.name}: {len(names)} manifests, until {before} (Unix ms), events before {live}")

found = {p.relative_to(folder).as_posix() for p in (folder / "schema=audit_log").rglob("*") if p.is_file()}
problems += [f"unexpected: {name}" for name in sorted(found - listed)]
print("\n".join(problems) or f"verified: {len(found)} objects")
sys.exit(bool(problems))
