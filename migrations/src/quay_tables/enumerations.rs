//! The enumerations: small tables of names that other tables refer to by id.

use crate::schema::{Column, ID, Index, Table, Usage, boolean, index, unique, varchar};

/// In an order in which every table comes after those it refers to.
pub(super) const TABLES: &[Table] = &[
    enumeration("accesstokenkind", Usage::Untouched),
    enumeration("apprblobplacementlocation", Usage::Untouched),
    enumeration("apprtagkind", Usage::Untouched),
    enumeration("buildtriggerservice", Usage::Untouched),
    enumeration("disablereason", Usage::Untouched),
    enumeration("externalnotificationevent", Usage::Untouched),
    enumeration("externalnotificationmethod", Usage::Untouched),
    enumeration("imagestoragelocation", Usage::Written),
    enumeration("imagestoragesignaturekind", Usage::Untouched),
    enumeration("imagestoragetransformation", Usage::Untouched),
    Table {
        name: "labelsourcetype",
        usage: Usage::Read,
        id: ID,
        columns: &[varchar("name"), boolean("mutable")],
        indexes: &[unique(&["name"])],
        references: &[],
    },
    enumeration("logentrykind", Usage::Read),
    enumeration("loginservice", Usage::Read),
    enumeration("mediatype", Usage::Written),
    enumeration("notificationkind", Usage::Read),
    enumeration("quayregion", Usage::Untouched),
    enumeration("quayservice", Usage::Untouched),
    Table {
        name: "quotatype",
        usage: Usage::Read,
        id: ID,
        columns: &[varchar("name")],
        indexes: &[],
        references: &[],
    },
    enumeration("repositorykind", Usage::Read),
    enumeration("role", Usage::Read),
    enumeration("tagkind", Usage::Read),
    Table {
        name: "teamrole",
        usage: Usage::Read,
        id: ID,
        columns: &[varchar("name")],
        indexes: &[index(&["name"])],
        references: &[],
    },
    Table {
        name: "userpromptkind",
        usage: Usage::Untouched,
        id: ID,
        columns: &[varchar("name")],
        indexes: &[index(&["name"])],
        references: &[],
    },
    enumeration("visibility", Usage::Read),
];

const fn enumeration(name: &'static str, usage: Usage) -> Table {
    const NAME: &[Column] = &[varchar("name")];
    const UNIQUE_NAME: &[Index] = &[unique(&["name"])];
    Table {
        name,
        usage,
        id: ID,
        columns: NAME,
        indexes: UNIQUE_NAME,
        references: &[],
    }
}
