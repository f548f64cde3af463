package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/auditdrain/auditdrain"
)

func printDrains(w io.Writer, list auditdrain.DrainList) {
	now := time.Now()
	row(w, "ID", "TEAM", "NAME", "STATUS", "ENDPOINT", "BACKLOG", "OLDEST", "NEXT TRY", "LAST ERROR")
	for _, d := range list.Drains {
		var backlog, oldest, next string
		if m := d.Metadata; m != nil {
			backlog = strconv.FormatUint(m.BacklogEvents, 10)
			oldest, next = age(m.OldestUndeliveredAt, now), until(m.NextAttemptAt, now)
		}
		row(w, d.ID, d.TeamID, d.Name, string(d.Status), d.Delivery.Endpoint, backlog, oldest, next, cut(trouble(d), 60))
	}
}

// trouble is the short form of a drain's last error: why, not what.
func trouble(d auditdrain.Drain) string {
	if d.Diagnosis != nil && len(d.Diagnosis.Causes) > 0 {
		return d.Diagnosis.Causes[0].Text
	}
	return d.LastError
}

func printDrain(w io.Writer, d auditdrain.Drain) {
	now := time.Now()
	field(w, "ID", d.ID)
	field(w, "Name", d.Name)
	field(w, "Team", d.TeamID)
	field(w, "Status", string(d.Status))
	field(w, "Disabled", moment(d.DisabledAt, now))
	field(w, "Disabled by", d.DisabledBy)
	field(w, "Reason", d.DisabledReason)
	field(w, "Failing since", moment(d.FirstErrorTimestamp, now))
	if m := d.Metadata; m != nil {
		field(w, "Last failure", moment(m.LastErrorAt, now))
		field(w, "Event refused", m.LastErrorEvent)
		field(w, "AWS request ID", m.LastErrorRequestID)
		field(w, "Next try", moment(m.NextAttemptAt, now))
	}
	if d.Diagnosis == nil { // else it is below, in all its parts
		field(w, "Last error", d.LastError)
	}
	field(w, "Endpoint", d.Delivery.Endpoint)
	field(w, "Region", d.Delivery.Region)
	field(w, "Role", d.Delivery.RoleARN)
	field(w, "External ID", d.ExternalID)
	field(w, "Encoding", d.Delivery.Encoding)
	field(w, "Encryption", d.Delivery.ServerSideEncryption)
	field(w, "Object ACL", d.Delivery.ObjectACL)
	integrity := auditdrain.IntegrityOff
	if d.Delivery.Integrity {
		integrity = auditdrain.IntegrityOn
	}
	field(w, "Integrity", string(integrity))
	field(w, "Created", when(d.CreatedAt))
	field(w, "Updated", when(d.UpdatedAt))
	if m := d.Metadata; m != nil {
		printMetadata(w, *m, now)
	}
	if d.Diagnosis != nil {
		printDiagnosis(w, *d.Diagnosis)
		fmt.Fprintf(w, "\nAWS said: %s\n", visible(d.Diagnosis.Answer))
		if len(d.Diagnosis.Causes) > 1 {
			fmt.Fprintf(w, "\nTo find out more: auditdrain drain test %s\n", visible(d.ID))
		}
	}
}

func printMetadata(w io.Writer, m auditdrain.DrainMetadata, now time.Time) {
	backlog := plural(m.BacklogEvents, "event")
	if m.BacklogEvents > 0 {
		backlog += ", " + size(m.BacklogBytes)
	}
	field(w, "Backlog", backlog)
	field(w, "Oldest undelivered", moment(m.OldestUndeliveredAt, now))
	field(w, "Delivered", plural(m.Delivered, "event"))
	field(w, "Failed attempts", strconv.FormatUint(m.Failed, 10))
	if m.Skipped > 0 {
		field(w, "Given up", plural(m.Skipped, "event"))
	}
	field(w, "Last delivery", moment(m.LastDeliveryAt, now))
	if m.Window > 0 {
		field(w, "Window", plural(m.Window, "write")+" at once")
	}
	field(w, "AWS session until", moment(m.SessionExpiresAt, now))
}
