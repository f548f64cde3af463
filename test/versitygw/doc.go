// Package versitygw tests against a real S3 server, versitygw, and against its
// public conformance suite: our delivery writes to that server, through
// sessions whose policies it enforces, `auditdrain verify` reads from it, and the
// suite judges internal/awssim.
//
// It is a module of its own because the server brings a web framework and
// much else that must not reach our binary.
package versitygw
