//! Provisions: their attributes, and what an exception must be to be one.

use assent_core::{
    limits,
    ruleset::{PURPOSE_SYSTEM, Ruleset},
    terms::{Actor, ActorRole, Coding, Effect, Period, Provision},
};

use crate::{
    ImportError, ReferenceMap, codes, date,
    json::{Fields, Node},
    references,
};

/// The elements of [Consent.provision](http://hl7.org/fhir/R4/consent-definitions.html#Consent.provision).
pub(crate) const ELEMENTS: [&str; 11] = [
    "type",
    "period",
    "actor",
    "action",
    "securityLabel",
    "purpose",
    "class",
    "code",
    "dataPeriod",
    "data",
    "provision",
];

/// What is at hand while a resource is read.
pub(crate) struct Context<'a> {
    pub map: &'a ReferenceMap,
    pub ruleset: &'a Ruleset,
    pub notes: Vec<String>,
    /// Provisions read so far.
    pub count: usize,
}

/// `permit` or `deny`.
pub(crate) fn effect(node: &Node<'_>) -> Result<Effect, ImportError> {
    match node.text()? {
        "permit" => Ok(Effect::Permit),
        "deny" => Ok(Effect::Deny),
        other => Err(ImportError::Malformed {
            path: node.path.clone(),
            expected: "\"permit\" or \"deny\"",
            found: format!("{other:?}"),
        }),
    }
}

/// The word for an effect.
pub(crate) fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Permit => "permit",
        Effect::Deny => "deny",
    }
}

impl Context<'_> {
    /// A provision without its period and its exceptions.
    pub fn attributes(
        &mut self,
        fields: &Fields<'_>,
        effect: Effect,
        depth: usize,
    ) -> Result<Provision, ImportError> {
        let limit = |problem: String| ImportError::Limit { path: fields.path.clone(), problem };
        self.count += 1;
        if self.count > limits::MAX_PROVISIONS {
            return Err(limit(format!("more than {} provisions", limits::MAX_PROVISIONS)));
        }
        if depth > limits::MAX_PROVISION_DEPTH {
            return Err(limit(format!("nested deeper than {} levels", limits::MAX_PROVISION_DEPTH)));
        }
        refuse_instances(fields)?;
        if let (Some(_), Some(code)) = (fields.get("class"), fields.get("code")) {
            return Err(ImportError::ClassAndCode { path: code.path });
        }
        let mut provision = Provision::new(effect);
        for node in fields.list("actor")? {
            let actor = node.object(&["role", "reference"])?;
            // The role first: who it is does not matter where it is not understood as what.
            let role = codes::role(&actor.required("role")?)?;
            let account = references::account(&actor.required("reference")?, self.map)?;
            provision.actors.push(Actor { role, account });
        }
        for node in fields.list("action")? {
            provision.actions.push(codes::action(&node)?);
        }
        for node in fields.list("purpose")? {
            provision.purposes.push(codes::purpose(&node, self.ruleset)?);
        }
        for node in fields.list("class")? {
            provision.classes.push(codes::class(&codes::coding(&node)?)?);
        }
        for node in fields.list("code")? {
            for code in codes::concept(&node)? {
                provision.classes.push(codes::class(&code)?);
            }
        }
        provision.labels = codes::labels(&fields.list("securityLabel")?, effect, self.ruleset)?;
        if let Some(node) = fields.get("dataPeriod") {
            provision.data_period = date::period(&node, date::Of::Data, &mut self.notes)?;
        }
        let at = |name: &str| format!("{}.{name}", fields.path);
        once(&mut provision.actors, &at("actor"), limits::MAX_ACTORS)?;
        once(&mut provision.actions, &at("action"), limits::MAX_ACTIONS)?;
        once(&mut provision.purposes, &at("purpose"), limits::MAX_PURPOSES)?;
        let classes = if fields.get("code").is_some() { "code" } else { "class" };
        once(&mut provision.classes, &at(classes), limits::MAX_CLASSES)?;
        once(&mut provision.labels, &at("securityLabel"), limits::MAX_LABELS)?;
        Ok(provision)
    }

    /// The exceptions to `parent`, at `depth`.
    pub fn exceptions(
        &mut self,
        fields: &Fields<'_>,
        parent: &Provision,
        depth: usize,
    ) -> Result<Vec<Provision>, ImportError> {
        fields.list("provision")?.iter().map(|node| self.exception(node, parent, depth)).collect()
    }

    fn exception(
        &mut self,
        node: &Node<'_>,
        parent: &Provision,
        depth: usize,
    ) -> Result<Provision, ImportError> {
        let fields = node.object(&ELEMENTS)?;
        let Some(kind) = fields.get("type") else {
            return Err(ImportError::UntypedProvision { path: format!("{}.type", fields.path) });
        };
        let mut provision = self.attributes(&fields, effect(&kind)?, depth)?;
        if let Some(node) = fields.get("period") {
            provision.period = date::period(&node, date::Of::Decision, &mut self.notes)?;
        }
        if (parent.effect, provision.effect) == (Effect::Permit, Effect::Permit) {
            return Err(ImportError::ExceptionWithoutEffect { path: kind.path });
        }
        if covers(self.ruleset, &provision, parent) {
            return Err(ImportError::ExceptionCoversAll { path: fields.path });
        }
        if let Some(attribute) = nothing_in_common(self.ruleset, &provision, parent) {
            return Err(ImportError::ExceptionNeverApplies { path: fields.path, attribute });
        }
        provision.provisions = self.exceptions(&fields, &provision, depth + 1)?;
        Ok(provision)
    }
}

/// Provisions about particular resources are refused: policy knows classes of data, not resources.
pub(crate) fn refuse_instances(fields: &Fields<'_>) -> Result<(), ImportError> {
    fields.get("data").map_or(Ok(()), |node| Err(ImportError::DataInstances { path: node.path }))
}

/// Drops repetitions, which mean nothing, and checks the limit.
fn once<T: PartialEq>(items: &mut Vec<T>, path: &str, limit: usize) -> Result<(), ImportError> {
    let mut kept: Vec<T> = Vec::new();
    for item in items.drain(..) {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    if kept.len() > limit {
        return Err(ImportError::Limit {
            path: path.to_owned(),
            problem: format!("at most {limit} are allowed, found {}", kept.len()),
        });
    }
    *items = kept;
    Ok(())
}

fn of_role(provision: &Provision, role: ActorRole) -> Vec<Actor> {
    provision.actors.iter().filter(|actor| actor.role == role).copied().collect()
}

/// Whether a list of alternatives covers all of another, where an empty one covers everything.
fn list_covers<T>(child: &[T], parent: &[T], under: impl Fn(&T, &T) -> bool) -> bool {
    child.is_empty()
        || (!parent.is_empty() && parent.iter().all(|asked| child.iter().any(|named| under(named, asked))))
}

fn period_covers(child: Option<Period>, parent: Option<Period>) -> bool {
    child.is_none_or(|child| child.covers(&parent.unwrap_or(Period::ALWAYS)))
}

fn label_under(ruleset: &Ruleset, named: &Coding, asked: &Coding) -> bool {
    named.system == asked.system && ruleset.subsumes(&named.system, &named.code, &asked.code)
}

/// Whether everything that `parent` matches also matches its exception `child`.
fn covers(ruleset: &Ruleset, child: &Provision, parent: &Provision) -> bool {
    [ActorRole::Recipient, ActorRole::Custodian]
        .into_iter()
        .all(|role| list_covers(&of_role(child, role), &of_role(parent, role), |a, b| a == b))
        && list_covers(&child.actions, &parent.actions, |a, b| a == b)
        && list_covers(&child.purposes, &parent.purposes, |a, b| ruleset.subsumes(PURPOSE_SYSTEM, a, b))
        && list_covers(&child.classes, &parent.classes, |a, b| a == b)
        && list_covers(&child.labels, &parent.labels, |a, b| label_under(ruleset, a, b))
        && period_covers(child.period, parent.period)
        && period_covers(child.data_period, parent.data_period)
}

/// Whether both lists name something, and nothing of one has to do with anything of the other.
fn apart<T>(child: &[T], parent: &[T], related: impl Fn(&T, &T) -> bool) -> bool {
    !child.is_empty()
        && !parent.is_empty()
        && !child.iter().any(|a| parent.iter().any(|b| related(a, b) || related(b, a)))
}

/// The attribute in which an exception and its parent exclude each other. Classes and labels are not asked: data can be of
/// several.
fn nothing_in_common(ruleset: &Ruleset, child: &Provision, parent: &Provision) -> Option<&'static str> {
    let actors = |role| apart(&of_role(child, role), &of_role(parent, role), |a, b| a == b);
    let periods = |child: Option<Period>, parent: Option<Period>| matches!((child, parent), (Some(a), Some(b)) if !a.overlaps(&b));
    let checks = [
        ("recipient", actors(ActorRole::Recipient)),
        ("custodian", actors(ActorRole::Custodian)),
        ("action", apart(&child.actions, &parent.actions, |a, b| a == b)),
        ("purpose", apart(&child.purposes, &parent.purposes, |a, b| ruleset.subsumes(PURPOSE_SYSTEM, a, b))),
        ("period", periods(child.period, parent.period)),
        ("dataPeriod", periods(child.data_period, parent.data_period)),
    ];
    checks.into_iter().find(|(_, excluded)| *excluded).map(|(attribute, _)| attribute)
}
