# Approver: has drafts judge, and what no longer counts retired. An approver cannot write a draft.
path "vouchsafe/policies"           { capabilities = ["list"] }
path "vouchsafe/policies/*"         { capabilities = ["read", "list"] }
path "vouchsafe/policy-activate/*"  { capabilities = ["update"] }
path "vouchsafe/policy-retire/*"    { capabilities = ["update"] }
path "vouchsafe/references"         { capabilities = ["list"] }
path "vouchsafe/references/*"       { capabilities = ["read", "list"] }
path "vouchsafe/reference-retire/*" { capabilities = ["update"] }
