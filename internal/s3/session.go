package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/auditdrain/auditdrain"
)

const (
	// sessionDuration is an hour: the most that role chaining allows, and the
	// least that every role allows unless its owner set it lower.
	sessionDuration = time.Hour
	// refreshAhead is how long before its end a session is replaced, while
	// it is still good for everybody else.
	refreshAhead = 10 * time.Minute
	// lastUse is how long before its end a session is no longer used: a
	// request signed now must still be good when it arrives.
	lastUse = time.Minute
	// refreshPause is how long a failed early refresh is not repeated.
	refreshPause = 30 * time.Second
)

// sessionKey is all that a session depends on.
type sessionKey struct {
	roleARN, externalID, name, policy, stsRegion string
}

// session holds the credentials of one assumed role. However many writes use
// it, one caller at a time talks to STS.
type session struct {
	assume func(ctx context.Context) (aws.Credentials, error)
	now    func() time.Time

	mu        sync.Mutex
	creds     aws.Credentials // zero if there are none
	notBefore time.Time       // no early refresh before this
	call      *assumeCall     // under way, or nil
}

type assumeCall struct {
	done  chan struct{} // closed when the rest is set
	creds aws.Credentials
	err   error
}

// credentials returns credentials that are good for at least lastUse. Ahead
// of their end, the first caller to notice gets new ones while the others go
// on with the old; if that fails, so does the first. Only when there are none
// does everybody wait for the one call.
func (s *session) credentials(ctx context.Context) (aws.Credentials, error) {
	s.mu.Lock()
	now := s.now()
	left := time.Duration(0)
	if s.creds.HasKeys() {
		left = s.creds.Expires.Sub(now)
	}
	usable := left > lastUse
	switch {
	case left > refreshAhead, usable && (s.call != nil || now.Before(s.notBefore)):
		defer s.mu.Unlock()
		return s.creds, nil
	case s.call != nil:
		call := s.call
		s.mu.Unlock()
		select {
		case <-call.done:
			return call.creds, call.err
		case <-ctx.Done():
			return aws.Credentials{}, ctx.Err()
		}
	}
	call := &assumeCall{done: make(chan struct{})}
	s.call = call
	old := s.creds
	s.mu.Unlock()

	call.creds, call.err = s.assume(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.call = nil
	if call.err == nil {
		s.creds = call.creds
	} else if usable {
		s.notBefore = s.now().Add(refreshPause)
		call.creds, call.err = old, nil
	}
	close(call.done)
	return call.creds, call.err
}

// drop forgets creds, which AWS has refused. It does nothing if they have
// been replaced meanwhile, so that many refusals of one session cost one new
// session.
func (s *session) drop(creds aws.Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.creds.AccessKeyID == creds.AccessKeyID {
		s.creds = aws.Credentials{}
	}
}

// session returns the cached session for key, making it if need be.
func (c *Client) session(key sessionKey) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sessions[key]
	if !ok {
		s = c.newSession(key)
		c.sessions[key] = s
	}
	return s
}

func (c *Client) newSession(key sessionKey) *session {
	return &session{
		now:    c.now,
		assume: func(ctx context.Context) (aws.Credentials, error) { return c.assumeRole(ctx, key) },
	}
}

// forget drops a session that nobody uses any more.
func (c *Client) forget(key sessionKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, key)
}

func (c *Client) assumeRole(ctx context.Context, key sessionKey) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, stsTimeout)
	defer cancel()
	return c.assume(ctx, c.sts, &sts.AssumeRoleInput{
		RoleArn:         aws.String(key.roleARN),
		RoleSessionName: aws.String(key.name),
		ExternalId:      aws.String(key.externalID),
		DurationSeconds: aws.Int32(int32(sessionDuration / time.Second)),
		Policy:          aws.String(key.policy),
	}, func(o *sts.Options) { o.Region = key.stsRegion })
}

func (c *Client) assume(ctx context.Context, client *sts.Client, in *sts.AssumeRoleInput, opts ...func(*sts.Options)) (aws.Credentials, error) {
	ctx, rec := record(ctx)
	out, err := client.AssumeRole(ctx, in, opts...)
	if err != nil {
		var inner *Error // our own writer role could not be assumed
		if errors.As(err, &inner) {
			return aws.Credentials{}, inner
		}
		e := c.stsError("AssumeRole", rec, err)
		e.Answer.RoleARN = aws.ToString(in.RoleArn)
		return aws.Credentials{}, e
	}
	if out.Credentials == nil {
		return aws.Credentials{}, errors.New("sts AssumeRole: the answer has no credentials")
	}
	return aws.Credentials{
		AccessKeyID:     aws.ToString(out.Credentials.AccessKeyId),
		SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
		SessionToken:    aws.ToString(out.Credentials.SessionToken),
		CanExpire:       true,
		Expires:         aws.ToTime(out.Credentials.Expiration),
	}, nil
}

// stsRegion returns the region in which to assume roles for buckets in
// region: our own, where STS is active for our account whatever the customer
// has; its tokens are valid in all regions of the partition. Only without one
// of our own, or across partitions, the bucket's.
func (c *Client) stsRegion(region string) string {
	ours, _ := partitionAndSuffix(c.region)
	theirs, _ := partitionAndSuffix(region)
	if c.region != "" && ours == theirs {
		return c.region
	}
	return region
}

// sessionPolicy is the most that a session for d can do, whatever the
// customer's role allows. kms:GenerateDataKey is always in it: a bucket's
// default encryption can be KMS without the drain saying so.
func sessionPolicy(d auditdrain.Delivery) (string, error) {
	partition, suffix := partitionAndSuffix(d.Region)
	bucket, prefix := d.SplitEndpoint()
	resource := fmt.Sprintf("arn:%s:s3:::%s/", partition, bucket)
	if prefix != "" {
		resource += prefix + "/"
	}
	actions := []string{"s3:PutObject"}
	if d.ObjectACL != "" {
		actions = append(actions, "s3:PutObjectAcl")
	}
	type statement struct {
		Effect    string
		Action    []string
		Resource  string
		Condition map[string]map[string]string `json:",omitempty"`
	}
	doc, err := json.Marshal(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{
		{Effect: "Allow", Action: actions, Resource: resource + "*"},
		{Effect: "Allow", Action: []string{"kms:GenerateDataKey"}, Resource: "*",
			Condition: map[string]map[string]string{"StringEquals": {"kms:ViaService": "s3." + d.Region + "." + suffix}}},
	}})
	if err != nil {
		return "", fmt.Errorf("write session policy: %w", err)
	}
	return string(doc), nil
}
