# Approver: has drafts judge and staged values count, and what no longer counts retired. An approver cannot write a draft.
path "vouchsafe/policies"           { capabilities = ["list"] }
path "vouchsafe/policies/*"         { capabilities = ["read", "list"] }
path "vouchsafe/policy-activate/*"  { capabilities = ["update"] }
path "vouchsafe/policy-retire/*"    { capabilities = ["update"] }
path "vouchsafe/references"         { capabilities = ["list"] }
path "vouchsafe/references/*"       { capabilities = ["read", "list"] }
path "vouchsafe/reference-retire/*" { capabilities = ["update"] }
path "vouchsafe/reference-activate/*" { capabilities = ["update"] }
path "vouchsafe/reference-uses/*"     { capabilities = ["read"] }
path "vouchsafe/reference-releases/*" { capabilities = ["update"] }
