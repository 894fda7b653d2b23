# Author: drafts policies and stages reference values. Nothing that an author writes counts until an approver has it.
path "vouchsafe/policies"       { capabilities = ["list", "update"] }
path "vouchsafe/policies/*"     { capabilities = ["read", "list"] }
path "vouchsafe/policy-test"    { capabilities = ["update"] }
path "vouchsafe/references"     { capabilities = ["list"] }
path "vouchsafe/references/*"   { capabilities = ["read", "list", "update"] }
path "vouchsafe/reference-uses/*" { capabilities = ["read"] }
path "vouchsafe/decisions"      { capabilities = ["list"] }
path "vouchsafe/decisions/"     { capabilities = ["list"] }
path "vouchsafe/explain/*"      { capabilities = ["read"] }
path "vouchsafe/policy-put"             { capabilities = ["update"] }
path "vouchsafe/policy-history/*"       { capabilities = ["read"] }
path "vouchsafe/proposals"              { capabilities = ["list", "update"] }
path "vouchsafe/proposals/"             { capabilities = ["list", "update"] }
path "vouchsafe/proposals/*"            { capabilities = ["read", "list"] }
path "vouchsafe/approval-rules"         { capabilities = ["read", "update"] }
path "vouchsafe/approval-rules-history" { capabilities = ["read"] }
path "vouchsafe/apply-plan"             { capabilities = ["update"] }
