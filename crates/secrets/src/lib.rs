//! Fields that the database holds encrypted, in the form that Quay gives them.
