package versitygw

// wording has messages that versitygw words otherwise than S3, and how. awssim
// has what S3 was seen to answer: the addresses are of answers with S3's own
// request IDs, or of what the suite's authors say S3 answered them.
var wording = map[string]string{
	// https://github.com/hubrick/vertx-s3-client/issues/5
	"AWS authentication requires a valid Date or x-amz-date header": "AWS authentication requires a valid Date or x-amz-date header.",
	// https://github.com/laurilehmijoki/s3_website/issues/178
	"Authorization header is invalid -- one and only one ' ' (space) required": "Authorization header is invalid -- one and only one ' ' (space) required.",
	// https://github.com/anthonycastelli/s3-storage/pull/1
	"The Content-MD5 you specified was invalid.": "The Content-Md5 you specified is not valid.",
	// https://github.com/versity/versitygw/issues/1657
	"Expecting a single x-amz-checksum- header": "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
	// https://github.com/awslabs/amazon-pollexy/issues/7
	"The specified bucket does not exist": "The specified bucket does not exist.",
	// https://github.com/versity/versitygw/issues/2108
	"A header you provided implies functionality that is not implemented": "A header you provided implies functionality that is not implemented.",
	// https://github.com/versity/versitygw/issues/2044
	"At least one of the pre-conditions you specified did not hold": "At least one of the pre-conditions you specified did not hold.",
}

// Reasons that several cases share. What is not simulated is answered with 501
// NotImplemented, which no drain meets.
const (
	followsAWS   = "awssim follows AWS, not versitygw: "
	notSimulated = "not simulated: "

	objectLock   = notSimulated + "Object Lock by header, and the versioning that it brings"
	xxHash       = notSimulated + "checksums of the XXHash family"
	signedChunks = notSimulated + "signatures of chunks"
	multipart    = notSimulated + "multipart uploads"
	folderKeys   = notSimulated + "keys that end in a slash; objects are plain files here"
	noFolders    = followsAWS + "in S3 there are no directories, so that neither of the two keys stands in the other's way " +
		"(https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html). Of two files one does, which is answered with 501"
)

// mostFailing is how many there were when the list was last made shorter. It
// never grows: a case that begins to fail has to be mended.
const mostFailing = 47

// failing has the cases of the suite that awssim does not pass, and why.
var failing = map[string]string{
	"Authentication_credentials_incorrect_region": notSimulated + "ListBuckets; and 127.0.0.1 stands for S3 in every region",
	"Authentication_date_mismatch":                "its user would be made by versitygw's own command; awssim's own tests have the case",
	"Authentication_unsupported_signature_version": followsAWS + "ArgumentValue is the whole header, " +
		"as S3 was seen to answer (https://github.com/versity/versitygw/issues/1705)",

	"PutObject_checksums_success":                    xxHash,
	"PutObject_incorrect_checksums":                  xxHash,
	"PutObject_invalid_checksum_header":              xxHash,
	"PutObject_dir_object_checksums_success":         folderKeys,
	"PutObject_dir_object_default_checksum":          folderKeys,
	"PutObject_with_metadata":                        folderKeys,
	"PutObject_invalid_legal_hold":                   objectLock,
	"PutObject_invalid_object_lock_mode":             objectLock,
	"PutObject_invalid_retain_until_date":            objectLock,
	"PutObject_missing_bucket_lock":                  objectLock,
	"PutObject_missing_object_lock_retention_config": objectLock,
	"PutObject_past_retain_until_date":               objectLock,
	"PutObject_racey_success":                        objectLock,
	"PutObject_with_object_lock":                     objectLock,
	"PutObject_false_negative_object_names":          notSimulated + "the first version of ListObjects",
	"PutObject_invalid_website_redirect_location":    notSimulated + "websites",
	"PutObject_race_with_delete":                     notSimulated + "DeleteObjects",
	"PutObject_tagging":                              notSimulated + "tags",
	"PutObject_data_integrity_etag":                  followsAWS + "the ETag of a plain object is its MD5 (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html); this one is for an option of versitygw's",
	"PutObject_dir_object_data_integrity_etag":       folderKeys,
	"PutObject_dir_obj_with_data":                    noFolders,
	"PutObject_overwrite_dir_obj":                    noFolders,
	"PutObject_overwrite_file_obj":                   noFolders,
	"PutObject_overwrite_file_obj_with_nested_obj":   noFolders,
	"PutObject_with_slashes":                         followsAWS + "S3 keeps all slashes of a key, versitygw does not. A key with two in a row is no file name, which is answered with 501",
	"PutObject_name_too_long":                        followsAWS + "1,024 bytes may be one part of the key; 255 is the bound of versitygw's file system. It is also that of awssim's, which answers 501",
	"PutObject_invalid_object_names": followsAWS + "of these keys S3 refuses only those that lead out of the bucket " +
		"(https://github.com/floci-io/floci/issues/1320, and its keys may have . and .. as parts). None is a file name, which is answered with 501",
	"PutObject_object_acl_not_supported": followsAWS + "an ACL is refused where ACLs are disabled, which they are in new buckets " +
		"(https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html); versitygw ignores it",
	"PutObject_success": followsAWS + "x-amz-object-size is only answered for directory buckets " +
		"(https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html)",

	"SignedStreamingPayloadTrailer_bad_digest":                   signedChunks,
	"SignedStreamingPayloadTrailer_incomplete_body":              signedChunks,
	"SignedStreamingPayloadTrailer_invalid_checksum":             signedChunks,
	"SignedStreamingPayloadTrailer_malformed_trailer":            signedChunks,
	"SignedStreamingPayloadTrailer_missing_x_amz_trailer_header": signedChunks,
	"SignedStreamingPayloadTrailer_success":                      signedChunks,
	"SignedStreamingPayload_decoded_content_length_mismatch":     signedChunks,
	"SignedStreamingPayload_invalid_chunk_size":                  signedChunks,
	"SignedStreamingPayload_invalid_encoding":                    signedChunks,

	"UnsignedStreamingPayloadTrailer_UploadPart_no_trailer_composite_checksum": multipart,
	"UnsignedStreamingPayloadTrailer_UploadPart_no_trailer_full_object":        multipart,
	"UnsignedStreamingPayloadTrailer_UploadPart_success_with_trailer":          multipart,
	"UnsignedStreamingPayloadTrailer_UploadPart_trailer_and_mp_algo_mismatch":  multipart,
	"UnsignedStreamingPayloadTrailer_no_payload_trailer_only_headers":          xxHash,
	"UnsignedStreamingPayloadTrailer_success_both_sdk_algo_and_trailer":        xxHash,
}
