// Package awssim is AWS on loopback: STS, S3, KMS and IAM as far as an audit
// log drain meets them. Tests drive it, and it is one half of
// `auditdrain demo`. It is not for production, and refuses to serve any
// address but loopback.
//
// It guarantees that
//
//   - a request is answered only if its Signature Version 4 is right for the
//     bytes on the wire, its clock within 15 minutes, its session not expired;
//   - every permission is decided by the policies that AWS would ask (trust,
//     identity, session, boundary, bucket, key, service and resource control
//     policies), evaluated by internal/iam: nothing is allowed by default;
//   - a refusal has AWS's status, headers, XML and wording;
//   - objects are plain files DIR/<bucket>/<key>, which appear whole or not at
//     all, and of several conditional writes of one key exactly one succeeds;
//   - what is not simulated is refused with 501 NotImplemented that says so,
//     never ignored.
//
// The operations are sts:AssumeRole and sts:GetCallerIdentity; kms:GetPublicKey
// and kms:Sign of Ed25519 keys; in S3
// CreateBucket, HeadBucket, DeleteBucket, ListObjectsV2, PutObject, GetObject,
// HeadObject and DeleteObject. One Handler serves all services, S3 in virtual-hosted form
// (bucket.s3.region.amazonaws.com, bucket.localhost) and path style.
//
// Objects outlive the process: a Sim on the same directory sees them once their
// bucket is added again. Users, roles, buckets, keys and sessions do not, nor
// does what a file cannot say of its object: after a restart content type,
// metadata and encryption are unknown. Files are written without fsync.
//
// # Who is right
//
// AWS's documentation is, where it says something. Where it does not, or S3
// was seen to answer otherwise, awssim answers as S3 was seen to: with a request
// ID of S3's own in a public thread, or as told by those who compare their
// server with S3 answer by answer. test/versitygw runs the conformance suite of
// such a server, versitygw v1.8.0, against awssim, and our delivery against that
// server. From the suite, and from no better source, come S3's words for an
// Authorization header with a component missing or malformed, and the order in
// which its parts are looked at.
//
// The documentation says that an x-amz-sdk-checksum-algorithm which is not the
// checksum's is answered with BadDigest. S3 answers InvalidRequest
// (https://github.com/versity/versitygw/issues/1598), and so do we. Of digests
// and chunks that are wrong, S3's answers are in issues 1104, 1593, 1652, 1653,
// 1657, 1660, 1665, 1676, 1684 and 2034 there; of an empty Content-MD5 in
// https://github.com/scality/cloudserver/issues/281; of an authorization that is
// no signature of version 4 in 1512 and 1705; of a payload's hash that is none
// in 1352; of a credential of another day than the request in
// https://github.com/ml-archive/storage/pull/68.
//
// Where awssim and versitygw differ, AWS is with awssim:
//
//   - versitygw ends messages with a full stop that S3 leaves out. "The specified
//     bucket does not exist" is how S3 words it.
//   - It says "no identity-based policy allows" of a session policy that does not
//     allow; AWS says "no session policy allows"
//     (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html).
//   - It does not know sessions that have expired, InvalidAccessKeyId; S3 says
//     ExpiredToken (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
//   - It compares x-amz-expected-bucket-owner with an access key. In S3 it is an
//     account's ID, and anything else is refused as none
//     (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html).
//   - It ignores an object's ACL. S3 refuses one where ACLs are disabled
//     (https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html).
//   - It answers x-amz-object-size, which S3 has for directory buckets only
//     (https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html).
//   - It keeps objects in directories: keys with two slashes in a row are
//     changed, parts of more than 255 bytes refused, and a key stands in the way
//     of those below it. S3's keys are names of up to 1,024 bytes and nothing more
//     (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
//     awssim keeps files, too, and refuses such keys with 501 instead.
package awssim
