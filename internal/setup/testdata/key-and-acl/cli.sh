#!/usr/bin/env bash
# Makes the IAM role with which an audit log drain writes into an S3 bucket of this account; the bucket and its KMS key,
# too, if you want them made. Run again, it brings things to the same state. It changes no bucket that it has not made.
#
# It needs the AWS CLI, with credentials of the account that has the bucket. It prints the role's ARN, which is the drain's
# roleArn; all else goes to standard error. Choices are made by variables:
#
#   CREATE_BUCKET=true bash THIS_FILE
set -euo pipefail

create_bucket=${CREATE_BUCKET:-false}
# Of a bucket that is made: AES256, aws:kms or aws:kms:dsse. aws:kms without a key of yours uses the AWS managed key aws/s3.
bucket_encryption=${BUCKET_ENCRYPTION:-aws:kms}
# Add the statement to the policy of the key. false only shows it.
edit_key_policy=${EDIT_KEY_POLICY:-true}
# Object Lock of a bucket that is made: none, GOVERNANCE or COMPLIANCE. With COMPLIANCE nobody can delete an object before
# its time, not even the account's root.
object_lock_mode=${OBJECT_LOCK_MODE:-none}
object_lock_days=${OBJECT_LOCK_DAYS:-365}

# The drain's values. What was not known when this was written has to be given as a variable, too.
bucket='acme-audit-archive'
region='eu-central-1'
role_name='audit-log-writer'
role_path='/'
kms_key_arn='arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab'
# What tells a bucket that was made here. A tag has no comma, which the name of a role may have, and the AWS CLI reads a =.
tag_key=auditdrain-setup
tag_value=${role_name//[,=]/.}

export AWS_REGION=$region AWS_DEFAULT_REGION=$region AWS_PAGER='' AWS_CLI_FILE_ENCODING=UTF-8

say() { echo "$*" >&2; }

fail() {
	say "error: $*"
	exit 1
}

# document NAME: standard input as a file for the AWS CLI, with what was not known when this was written. The quotation
# marks keep bash from 5.2 on from putting what it found in the place of an & of the value.
document() {
	local text
	text=$(cat)
	printf '%s\n' "$text" >"$tmp/$1.json"
}

# patiently COMMAND: a role that has just been made is not known everywhere at once.
patiently() {
	local try
	for try in 1 2 3 4 5 6; do
		if "$@"; then return; fi
		say "try $try has failed; the next one is in 5 seconds"
		sleep 5
	done
	"$@"
}

check() {
	if [ "$create_bucket" = true ] && [ "$bucket_encryption" = AES256 ]; then
		fail "BUCKET_ENCRYPTION AES256 does not use the key $kms_key_arn: use aws:kms or aws:kms:dsse"
	fi
	account=$(aws sts get-caller-identity --query Account --output text)
	if [ "$account" != '111122223333' ]; then
		fail "these are credentials of account $account, but the drain's role is in 111122223333"
	fi
	if [ "$create_bucket" = true ]; then check_bucket; fi
}

# Making a bucket sets its policy, encryption and more. One that somebody else has made keeps what it has, so its tag has to
# say that it was made here, by a run that may not have come to its end.
check_bucket() {
	local tag
	if ! aws s3api head-bucket --bucket "$bucket" --expected-bucket-owner "$account" >"$tmp/out" 2>"$tmp/err"; then
		grep -q '(404)' "$tmp/err" || fail "bucket $bucket cannot be looked at, maybe because it is another account's: $(cat "$tmp/err")"
		return
	fi
	if ! tag=$(aws s3api get-bucket-tagging --bucket "$bucket" --expected-bucket-owner "$account" \
		--query "TagSet[?Key=='$tag_key'].Value" --output text 2>"$tmp/err"); then
		grep -q NoSuchTagSet "$tmp/err" || fail "the tags of bucket $bucket, which exists, cannot be read: $(cat "$tmp/err")"
		tag=''
	fi
	if [ "$tag" != "$tag_value" ]; then
		say "bucket $bucket exists and was not made here for role $role_name (it has no tag $tag_key=$tag_value)."
		fail "nothing was changed: leave out CREATE_BUCKET=true, and the bucket stays as it is"
	fi
	bucket_made=true
}

# The role trusts the writer role alone, and only with the external ID: without it, anybody whom the platform serves could
# make the platform write here (the confused deputy problem). A role that exists gets this trust policy in place of its own.
make_role() {
	document trust-policy <<'JSON'
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws:iam::977805900156:role/vercel-drains-s3-writer"
      },
      "Action": "sts:AssumeRole",
      "Condition": {
        "StringEquals": {
          "sts:ExternalId": "vercel-team:team_123"
        }
      }
    }
  ]
}
JSON
	if aws iam get-role --role-name "$role_name" --query Role.AssumeRolePolicyDocument --output json >"$tmp/out" 2>"$tmp/err"; then
		say "role $role_name exists: setting its trust policy, which was"
		cat "$tmp/out" >&2
		aws iam update-assume-role-policy --role-name "$role_name" --policy-document "file://$tmp/trust-policy.json"
	elif grep -q NoSuchEntity "$tmp/err"; then
		say "making role $role_name"
		aws iam create-role --role-name "$role_name" --path "$role_path" \
			--description "Writes audit log events into an S3 bucket, and can do nothing else" \
			--assume-role-policy-document "file://$tmp/trust-policy.json" >"$tmp/out"
	else
		fail "$(cat "$tmp/err")"
	fi
	role_arn=$(aws iam get-role --role-name "$role_name" --query Role.Arn --output text)
	if [ "$role_arn" != 'arn:aws:iam::111122223333:role/audit-log-writer' ]; then
		fail "the role is $role_arn, but the drain's is" 'arn:aws:iam::111122223333:role/audit-log-writer'
	fi
}

# What the role can do. With a customer managed key it can also use the key, through S3 in the bucket's region and not by
# itself.
allow_writes() {
	say "setting the policy of role $role_name"
	document permissions-policy <<'JSON'
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "AllowS3Writes",
      "Effect": "Allow",
      "Action": [
        "s3:PutObject",
        "s3:PutObjectAcl"
      ],
      "Resource": "arn:aws:s3:::acme-audit-archive/audit-logs/*"
    },
    {
      "Sid": "AllowKmsForS3Writes",
      "Effect": "Allow",
      "Action": "kms:GenerateDataKey",
      "Resource": "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
      "Condition": {
        "StringEquals": {
          "kms:CallerAccount": "111122223333",
          "kms:ViaService": "s3.eu-central-1.amazonaws.com"
        }
      }
    }
  ]
}
JSON
	aws iam put-role-policy --role-name "$role_name" --policy-name audit-log-write \
		--policy-document "file://$tmp/permissions-policy.json"
}

# A key that exists has a policy that must be kept. The statement goes before those that are there, and the policy as it
# was is saved.
allow_key() {
	local policy saved statements='^(.*"Statement"[[:space:]]*:[[:space:]]*\[)(.*)$'
	document key-statement <<'JSON'
{
  "Sid": "AllowVercelDrainRoleToUseKeyViaS3",
  "Effect": "Allow",
  "Principal": {
    "AWS": "arn:aws:iam::111122223333:role/audit-log-writer"
  },
  "Action": "kms:GenerateDataKey",
  "Resource": "*",
  "Condition": {
    "StringEquals": {
      "kms:CallerAccount": "111122223333",
      "kms:ViaService": "s3.eu-central-1.amazonaws.com"
    }
  }
}
JSON
	if ! policy=$(aws kms get-key-policy --key-id "$kms_key_arn" --policy-name default --query Policy --output text); then
		by_hand "the key's policy cannot be read"
	elif [[ $policy == *'"AllowVercelDrainRoleToUseKeyViaS3"'* && $policy == *"\"$role_arn\""* ]]; then
		say "the key's policy has the statement"
	elif [ "$edit_key_policy" != true ]; then
		by_hand "EDIT_KEY_POLICY is not true"
	elif [[ ! $policy =~ $statements ]]; then
		by_hand "the key's policy has no list of statements"
	else
		saved=key-policy-before-$(date -u +%Y%m%dT%H%M%SZ).json
		printf '%s\n' "$policy" >"$saved"
		printf '%s\n%s,%s\n' "${BASH_REMATCH[1]}" "$(cat "$tmp/key-statement.json")" "${BASH_REMATCH[2]}" >"$tmp/key-policy.json"
		say "adding a statement to the policy of $kms_key_arn; the policy as it was is in $saved"
		patiently aws kms put-key-policy --key-id "$kms_key_arn" --policy-name default --policy "file://$tmp/key-policy.json"
	fi
}

by_hand() {
	say "$1. To do by hand: add this statement to the policy of $kms_key_arn, and keep those that it has:"
	cat "$tmp/key-statement.json" >&2
}

make_bucket() {
	local args=(--bucket "$bucket") default
	if [ "$bucket_made" = true ]; then
		say "bucket $bucket was made here: setting it up"
	else
		say "making bucket $bucket"
		[ "$region" = us-east-1 ] || args+=(--create-bucket-configuration "LocationConstraint=$region")
		[ "$object_lock_mode" = none ] || args+=(--object-lock-enabled-for-bucket)
		aws s3api create-bucket "${args[@]}" >"$tmp/out"
		aws s3api put-bucket-tagging --bucket "$bucket" --tagging "TagSet=[{Key=$tag_key,Value=$tag_value}]"
	fi
	aws s3api put-public-access-block --bucket "$bucket" --public-access-block-configuration \
		BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
	aws s3api put-bucket-ownership-controls --bucket "$bucket" --ownership-controls 'Rules=[{ObjectOwnership=BucketOwnerEnforced}]'
	aws s3api put-bucket-versioning --bucket "$bucket" --versioning-configuration Status=Enabled
	default=SSEAlgorithm=$bucket_encryption
	[ -z "$kms_key_arn" ] || default+=,KMSMasterKeyID=$kms_key_arn
	# A bucket key saves most calls to KMS. DSSE-KMS does not have it.
	case $bucket_encryption in
	aws:kms) default="{ApplyServerSideEncryptionByDefault={$default},BucketKeyEnabled=true}" ;;
	*) default="{ApplyServerSideEncryptionByDefault={$default}}" ;;
	esac
	aws s3api put-bucket-encryption --bucket "$bucket" --server-side-encryption-configuration "Rules=[$default]"
	if [ "$object_lock_mode" != none ]; then
		aws s3api put-object-lock-configuration --bucket "$bucket" --object-lock-configuration \
			"ObjectLockEnabled=Enabled,Rule={DefaultRetention={Mode=$object_lock_mode,Days=$object_lock_days}}" >"$tmp/out"
	fi
	document bucket-policy <<'JSON'
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "DenyWithoutTLS",
      "Effect": "Deny",
      "Principal": "*",
      "Action": "s3:*",
      "Resource": [
        "arn:aws:s3:::acme-audit-archive",
        "arn:aws:s3:::acme-audit-archive/*"
      ],
      "Condition": {
        "Bool": {
          "aws:SecureTransport": "false"
        }
      }
    }
  ]
}
JSON
	if aws s3api get-bucket-policy --bucket "$bucket" --query Policy --output text >"$tmp/out" 2>"$tmp/err"; then
		say "setting the policy of bucket $bucket, which was"
		cat "$tmp/out" >&2
	fi
	aws s3api put-bucket-policy --bucket "$bucket" --policy "file://$tmp/bucket-policy.json"
}

# All in a function, so that a script that was cut off on its way here does nothing.
main() {
	exec 3>&1 >&2 # the answer is all that goes to standard output
	account='' role_arn='' bucket_made=false
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	check
	make_role
	allow_writes
	if [ "$create_bucket" = true ]; then make_bucket; fi
	allow_key
	say "done; the drain's roleArn is"
	echo "$role_arn" >&3
}

main </dev/null
