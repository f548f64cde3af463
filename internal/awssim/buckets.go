package awssim

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/auditdrain/auditdrain/internal/iam"
)

func (c *call) headBucket(b Bucket) (reply, error) {
	if err := c.authorizeS3(b, "s3:ListBucket", "", nil); err != nil {
		return reply{}, err
	}
	rep := c.s3Reply(http.StatusOK, nil)
	rep.header.Set("X-Amz-Bucket-Region", b.Region)
	rep.header.Set("X-Amz-Bucket-Arn", bucketARN(b))
	return rep, nil
}

// createBucket adds a bucket to the caller's account. Its configuration is
// that of any new bucket, but for the ownership that the request asks for.
func (c *call) createBucket(body []byte) (reply, error) {
	name := c.s3.bucket
	if !bucketRE.MatchString(name) || strings.Contains(name, "..") || net.ParseIP(name) != nil {
		return reply{}, refusal(http.StatusBadRequest, "InvalidBucketName", "The specified bucket is not valid.", Element{"BucketName", name})
	}
	var config struct {
		LocationConstraint string
		Other              []struct{ XMLName xml.Name } `xml:",any"`
	}
	if len(body) > 0 {
		if err := xml.Unmarshal(body, &config); err != nil {
			return reply{}, refusal(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
		}
	}
	if len(config.Other) > 0 {
		return reply{}, notSimulated("CreateBucketConfiguration's " + config.Other[0].XMLName.Local)
	}
	region := cmp.Or(config.LocationConstraint, "us-east-1")
	if endpoint := cmp.Or(c.s3.region, c.scope.region); region != endpoint && endpoint != "us-east-1" {
		which := cmp.Or(config.LocationConstraint, "unspecified")
		return reply{}, refusal(http.StatusBadRequest, "IllegalLocationConstraintException",
			"The "+which+" location constraint is incompatible for the region specific endpoint this request was sent to.")
	}
	if config.LocationConstraint == "us-east-1" || !regionRE.MatchString(region) { // the former is said by saying nothing
		return reply{}, refusal(http.StatusBadRequest, "InvalidLocationConstraint", "The specified location-constraint is not valid", Element{"LocationConstraint", region})
	}
	if lock := c.req.Header.Get("X-Amz-Bucket-Object-Lock-Enabled"); lock != "" && lock != "false" {
		return reply{}, notSimulated("the versioning of buckets made with Object Lock")
	}
	b := Bucket{Name: name, Account: c.who.principal.Account, Region: region}
	switch o := c.req.Header.Get("X-Amz-Object-Ownership"); o {
	case "", "BucketOwnerEnforced":
	case string(BucketOwnerPreferred), string(ObjectWriter):
		b.Ownership = Ownership(o)
	default:
		return reply{}, invalidArgument("Invalid x-amz-object-ownership header: "+o, "x-amz-object-ownership", o)
	}
	if err := c.authorizeS3(b, "s3:CreateBucket", "", map[string][]string{"s3:LocationConstraint": {region}}); err != nil {
		return reply{}, err
	}
	added, err := c.sim.addNewBucket(b)
	if err != nil {
		return reply{}, err
	}
	if !added {
		if old, _ := c.sim.bucket(name); old.Account == b.Account {
			return reply{}, refusal(http.StatusConflict, "BucketAlreadyOwnedByYou",
				"Your previous request to create the named bucket succeeded and you already own it.", Element{"BucketName", name})
		}
		return reply{}, refusal(http.StatusConflict, "BucketAlreadyExists",
			"The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
			Element{"BucketName", name})
	}
	rep := c.s3Reply(http.StatusOK, nil)
	rep.header.Set("Location", "/"+name)
	rep.header.Set("X-Amz-Bucket-Arn", bucketARN(b))
	return rep, nil
}

func bucketARN(b Bucket) string {
	name, _ := iam.Partition(b.Region)
	return "arn:" + name + ":s3:::" + b.Name
}

// addNewBucket adds b unless there is a bucket of its name.
func (s *Sim) addNewBucket(b Bucket) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.buckets[b.Name]; ok {
		return false, nil
	}
	if err := s.objects.addBucket(b.Name); err != nil {
		return false, fmt.Errorf("create bucket: %w", err)
	}
	s.buckets[b.Name] = b
	return true, nil
}

func (c *call) deleteBucket(b Bucket) (reply, error) {
	if err := c.authorizeS3(b, "s3:DeleteBucket", "", nil); err != nil {
		return reply{}, err
	}
	switch err := c.sim.deleteBucket(b.Name); {
	case errors.Is(err, errNotEmpty):
		return reply{}, refusal(http.StatusConflict, "BucketNotEmpty", "The bucket you tried to delete is not empty", Element{"BucketName", b.Name})
	case err != nil:
		return reply{}, err
	}
	return c.s3Reply(http.StatusNoContent, nil), nil
}

// deleteBucket removes a bucket with its directory, unless an object is in it.
func (s *Sim) deleteBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.objects.removeBucket(name); err != nil {
		return err
	}
	delete(s.buckets, name)
	return nil
}
