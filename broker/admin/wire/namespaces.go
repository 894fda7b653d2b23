package wire

import (
	"github.com/vouchsafe/vouchsafe/broker"
)

// The operations on namespaces, and on the view that one has of the audit log.
var (
	ListNamespaces = Endpoint[Page, List[broker.Namespace]]{Operation{
		ID: "listNamespaces", Method: "GET", Path: "/v1/admin/namespaces", Roles: append(operator[:1:1], auditor...), Everywhere: true,
		Summary: "List the namespaces that were declared, with their quotas",
	}}
	CreateNamespace = Endpoint[NamespaceQuota, broker.Namespace]{Operation{
		ID: "createNamespace", Method: "POST", Path: "/v1/admin/namespaces/{name}", Roles: operator, Everywhere: true,
		Summary: "Declare a namespace, which is served below /ns/NAME/ from then on",
	}}
	SetQuota = Endpoint[NamespaceQuota, broker.Namespace]{Operation{
		ID: "setQuota", Method: "POST", Path: "/v1/admin/namespace-quota/{name}", Roles: operator, Everywhere: true,
		Summary: "Replace the quota of a namespace",
	}}

	Entries = Endpoint[EntriesQuery, EntriesPage]{Operation{
		ID: "entries", Method: "GET", Path: "/v1/audit/entries", Roles: auditor,
		Summary: "Read the entries of this namespace in the audit log, each with the proof that it is there",
	}}
	EntriesOf = Endpoint[LogEntriesQuery, EntriesPage]{Operation{
		ID: "entriesOf", Method: "GET", Path: "/v1/audit/log/{log}/entries", Roles: auditor,
		Summary: "Read the entries of this namespace in one of the audit logs",
	}}
)

// NamespaceQuota is a namespace with the bounds of what it may take. A bound of 0, or one that is absent, is none.
type NamespaceQuota struct {
	Name string `json:"-" path:"name" doc:"name of the namespace"`
	broker.Quota
}

// EntriesQuery asks for entries of the log.
type EntriesQuery struct {
	From  uint64 `json:"-" query:"from" doc:"index of the entry to begin with"`
	Limit int    `json:"-" query:"limit" doc:"at most this many, 1 to 1000; 1000 when absent"`
}

// LogEntriesQuery asks for entries of one of the logs.
type LogEntriesQuery struct {
	LogNumber
	EntriesQuery
}

// EntriesPage is a page of entries. It may have none although there are more: a page looks through some thousand entries of all namespaces.
type EntriesPage struct {
	Items []broker.LogEntry `json:"items"`
	Next  uint64            `json:"next" doc:"index to go on from"`
	More  bool              `json:"more" doc:"there are entries from there on now"`
}
