package diagnose

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/auditdrain/auditdrain"
)

// around is how far CloudTrail's time of an event, which is AWS's, may be from
// ours.
const around = 5 * time.Minute

// stsHostRE finds the region in the name of STS's host, of which the global
// endpoint's has none.
var stsHostRE = regexp.MustCompile(`^sts(?:-fips)?\.([a-z]+(?:-[a-z]+)+-\d+)\.`)

// cloudTrail says how to find the refused call, or returns nil if AWS did not
// get it.
func (r *refusal) cloudTrail() *auditdrain.CloudTrailLookup {
	if r.HTTPStatus == 0 {
		return nil
	}
	t := time.UnixMilli(r.Time).UTC()
	l := &auditdrain.CloudTrailLookup{
		EventSource: "s3.amazonaws.com",
		EventName:   r.Operation,
		RequestID:   r.RequestID,
		Account:     r.grant.Account(),
		Region:      r.delivery.Region,
		From:        t.Add(-around).UnixMilli(),
		To:          t.Add(around).UnixMilli(),
	}
	find := r.RequestID
	switch {
	case r.Service == "sts":
		l.EventSource = "sts.amazonaws.com"
		l.Region = "us-east-1"
		if m := stsHostRE.FindStringSubmatch(r.Host); m != nil {
			l.Region = m[1]
		}
		if role, ok := auditdrain.ParseRoleARN(r.RoleARN); ok {
			l.Account = role.Account // our own, if it was our own role
		}
		l.Note = "CloudTrail records a refused call of another account with the caller, and not always with the role's account: if it is not found there, the platform's operator finds it by the request id."
	case strings.HasPrefix(r.denial.action, "kms:"):
		l.EventSource, l.EventName = "kms.amazonaws.com", strings.TrimPrefix(r.denial.action, "kms:")
		l.RequestID, find = "", sessionOf(r.CallerARN)
		l.Note = "S3 made this call for the role, with a request id of its own: look for the session's name. S3's own event (PutObject) is a data event."
	default:
		l.Note = "PutObject is a data event: only a trail that logs the bucket's data events has it, in its own bucket or in CloudTrail Lake, not in the event history."
		return l
	}
	l.Command = fmt.Sprintf(`aws cloudtrail lookup-events --region %s --start-time %s --end-time %s --lookup-attributes AttributeKey=EventName,AttributeValue=%s --query "Events[?contains(CloudTrailEvent, '%s')].CloudTrailEvent" --output text`,
		l.Region, t.Add(-around).Format(time.RFC3339), t.Add(around).Format(time.RFC3339), l.EventName, find)
	if !commandSafeRE.MatchString(find) {
		l.Command = "" // somebody else's server chose it
	}
	return l
}

var commandSafeRE = regexp.MustCompile(`^[A-Za-z0-9_=,.@/-]+$`)

// sessionOf is the session's name in the ARN of an assumed role.
func sessionOf(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// keyRE finds the ARN of a KMS key.
var keyRE = regexp.MustCompile(`arn:aws[a-z0-9-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+`)

const (
	iamGuide = "https://docs.aws.amazon.com/IAM/latest/UserGuide/"
	s3Guide  = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/"
	kmsGuide = "https://docs.aws.amazon.com/kms/latest/developerguide/"
	s3Errors = "https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"
	stsCalls = "https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"
)

// pages are AWS's own, by the likeliest cause.
var pages = map[auditdrain.CauseCode]string{
	CauseTrustPrincipal:    iamGuide + "troubleshoot_roles.html",
	CauseTrustExternalID:   iamGuide + "confused-deputy.html",
	CauseTrustDeny:         iamGuide + "reference_policies_evaluation-logic.html",
	CauseRoleMissing:       iamGuide + "troubleshoot_roles.html",
	CauseWriterPolicy:      iamGuide + "id_roles_use_permissions-to-switch.html",
	CausePartition:         "https://docs.aws.amazon.com/general/latest/gr/aws-arns-and-namespaces.html",
	CauseWriterRole:        iamGuide + "troubleshoot_roles.html",
	CauseRoleOrgPolicy:     "https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_rcps.html",
	CauseSTSRegion:         iamGuide + "id_credentials_temp_enable-regions.html",
	CauseGlobalSTS:         iamGuide + "id_credentials_temp_enable-regions.html",
	CauseOptInRegion:       "https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html",
	CauseClock:             iamGuide + "signature-v4-troubleshooting.html",
	CauseOwnCredentials:    iamGuide + "signature-v4-troubleshooting.html",
	CausePermissions:       s3Guide + "troubleshoot-403-errors.html",
	CauseResource:          s3Guide + "troubleshoot-403-errors.html",
	CauseTestPath:          s3Guide + "troubleshoot-403-errors.html",
	CauseACLAction:         s3Guide + "acl-overview.html",
	CauseIdentityDeny:      iamGuide + "reference_policies_evaluation-logic.html",
	CauseBoundary:          iamGuide + "access_policies_boundaries.html",
	CauseSCP:               "https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps.html",
	CauseRCP:               "https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_rcps.html",
	CauseVPCEndpoint:       "https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-s3.html",
	CauseBucketDeny:        s3Guide + "troubleshoot-403-errors.html",
	CauseBucketEncryption:  s3Guide + "UsingKMSEncryption.html",
	CauseBucketACL:         s3Guide + "about-object-ownership.html",
	CauseBucketAccount:     s3Guide + "bucket-owner-condition.html",
	CauseBucketMissing:     s3Guide + "bucket-overview.html",
	CauseRegion:            s3Guide + "Redirects.html",
	CauseACLsDisabled:      s3Guide + "about-object-ownership.html",
	CauseObjectLock:        s3Guide + "object-lock.html",
	CauseDigest:            s3Guide + "checking-object-integrity.html",
	CauseKMSPermissions:    kmsGuide + "key-policies.html",
	CauseKMSKeyPolicy:      kmsGuide + "key-policies.html",
	CauseKMSDeny:           kmsGuide + "policy-evaluation.html",
	CauseKMSDisabled:       kmsGuide + "enabling-keys.html",
	CauseKMSDeletion:       kmsGuide + "deleting-keys.html",
	CauseKMSMissing:        s3Guide + "bucket-encryption.html",
	CauseKMSRegion:         s3Guide + "bucket-encryption.html",
	CauseKeyTooLong:        s3Guide + "object-keys.html",
	CauseEncryptionUnknown: s3Guide + "bucket-encryption.html",
}

// docs is AWS's page on the likeliest cause, or on the call's errors.
func (r *refusal) docs() string {
	if len(r.causes) > 0 {
		if page, ok := pages[r.causes[0].Code]; ok {
			return page
		}
	}
	switch {
	case r.HTTPStatus == 0:
		return ""
	case r.Service == "sts":
		return stsCalls
	}
	return s3Errors
}
